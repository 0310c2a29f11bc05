"""The formats of flow records: how to know them, and what each of their columns is.

Names are compared in lower case with ``_`` for all that is neither letter nor digit: `` Flow Bytes/s`` is ``flow_bytes_s``.
A pattern has ``*`` for any letters; the first pattern that fits a column decides. A column that no pattern fits is judged by its
values, as in any table. A new format is one entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Format:
    """``marks``: column names, alternatives between bars, all of which such a file has. ``roles``: patterns between blanks and
    the role (see ``ROLES``) of the columns that fit one."""

    called: str
    marks: tuple[str, ...]
    roles: tuple[tuple[str, str], ...]
    missing: tuple[str, ...] = ()  # its own spellings of "not there"

    def role(self, name: str) -> str:
        """The role of a column, "" where the format does not say."""
        plain = plain_name(name)
        return next((role for patterns, role in self.roles if _fits(plain, patterns)), "")


FORMATS: dict[str, Format] = {
    "zeek": Format(
        "Zeek conn.log",
        ("id_orig_h", "id_resp_h", "id_resp_p", "proto"),
        (
            ("ts", "clock"),
            ("id_orig_h id_resp_h orig_l2_addr resp_l2_addr", "address"),
            ("*label*", "label"),
            ("uid tunnel_parents community_id path write_ts system_name", "identifier"),
            ("id_orig_p id_resp_p", "port"),
            ("proto service conn_state history local_orig local_resp ip_proto vlan inner_vlan", "word"),
            ("duration", "log"),
            ("*_bytes *_pkts", "amount"),
        ),
        ("-", "(empty)"),
    ),
    "cicflowmeter": Format(
        "CICFlowMeter",
        ("flow_duration", "tot_fwd_pkts|total_fwd_packets|total_fwd_packet", "flow_iat_mean"),
        (
            ("*label* attack attack_type attack_cat class", "label"),
            ("src_ip source_ip dst_ip destination_ip *_mac", "address"),
            ("flow_id id unnamed_0 simillarhttp *_length_1", "identifier"),
            ("src_port source_port dst_port destination_port", "port"),
            ("protocol", "word"),
            ("timestamp", "clock"),
            ("flow_duration *_iat_* active_* idle_*", "log"),
            ("*_s *_ratio *_b_avg *_bulk* *_blk_* *_avg_*", "log"),
            ("*_flag_c* *_flags", "amount"),
            ("tot_*_pkts total_*_packet* subflow_* *act_data_pkt* totlen_* total_length_*", "amount"),
            ("*header_len* init_*", "amount"),
            ("*len* *length* *size*", "log"),
        ),
        ("Infinity", "-Infinity", "inf", "-inf"),
    ),
    "nfstream": Format(
        "nfstream",
        ("bidirectional_packets", "src_ip", "dst_port"),
        (
            ("*label* attack attack_type", "label"),
            ("src_ip dst_ip *_mac *_oui", "address"),
            ("bidirectional_first_seen_ms", "clock"),
            ("id *_seen_ms requested_server_name *_fingerprint user_agent content_type system_*", "identifier"),
            ("src_port dst_port", "port"),
            ("protocol ip_version vlan_id tunnel_id expiration_id application_*", "word"),
            ("*_duration_ms *_ps *_piat_ms", "log"),
            ("*_packets *_bytes", "amount"),
        ),
    ),
    "nfdump": Format(
        "nfdump",
        ("ts", "te", "td", "sa", "da", "pr", "ipkt", "ibyt"),
        (
            ("label attack", "label"),
            ("sa da nh nhb ra", "address"),
            ("ts", "clock"),
            ("te tr exid eng idmc odmc ismc osmc mpls*", "identifier"),
            ("sp dp", "port"),
            ("pr flg fwd stos dtos dir in out sas das smk dmk svln dvln", "word"),
            ("td cl sl al", "log"),
            ("ipkt ibyt opkt obyt", "amount"),
        ),
    ),
    "netflow": Format(
        "NetFlow of nProbe",
        ("l4_src_port", "l4_dst_port", "in_bytes", "in_pkts"),
        (
            ("label attack dataset", "label"),
            ("*_addr", "address"),
            ("flow_start_milliseconds first_switched", "clock"),
            ("flow_end_milliseconds last_switched dns_query_id", "identifier"),
            ("l4_src_port l4_dst_port", "port"),
            ("protocol l7_proto *tcp_flags icmp_* dns_query_type ftp_command_ret_code", "word"),
            ("*duration* *throughput *second_bytes *iat* dns_ttl_answer", "log"),
            ("*bytes *pkts *packets num_* *_ttl *_pkt *_pkt_len tcp_win_*", "amount"),
        ),
    ),
    "kdd": Format(
        "KDD Cup 99 and NSL-KDD",
        ("protocol_type", "service", "flag", "src_bytes", "dst_bytes"),
        (
            ("label class attack attack_type outcome target", "label"),
            ("difficulty level", "label"),
            ("protocol_type service flag land logged_in root_shell is_host_login is_guest_login", "word"),
            ("duration", "log"),
            ("*_rate", "share"),
            ("*", "amount"),
        ),
    ),
}

# KDD's files have no header.
_NAMES = (
    "duration protocol_type service flag src_bytes dst_bytes land wrong_fragment urgent hot num_failed_logins logged_in "
    "num_compromised root_shell su_attempted num_root num_file_creations num_shells num_access_files num_outbound_cmds "
    "is_host_login is_guest_login count srv_count serror_rate srv_serror_rate rerror_rate srv_rerror_rate same_srv_rate "
    "diff_srv_rate srv_diff_host_rate dst_host_count dst_host_srv_count dst_host_same_srv_rate dst_host_diff_srv_rate "
    "dst_host_same_src_port_rate dst_host_srv_diff_host_rate dst_host_serror_rate dst_host_srv_serror_rate "
    "dst_host_rerror_rate dst_host_srv_rerror_rate label difficulty"
)
KDD = tuple(_NAMES.split())


def format_of(names: Iterable[str]) -> str | None:
    """The format whose marks are all among the names.

    >>> format_of([" Flow Duration", " Total Fwd Packets", " Flow IAT Mean", " Label"])
    'cicflowmeter'
    """
    there = {plain_name(name) for name in names}
    for key, known in FORMATS.items():
        if all(there & set(mark.split("|")) for mark in known.marks):
            return key
    return None


def marks_in(names: Sequence[str], key: str) -> list[str]:
    """Those of the names by which the format was known."""
    marks = {word for mark in FORMATS[key].marks for word in mark.split("|")}
    return [name.strip() for name in names if plain_name(name) in marks]


def kdd_names(cells: Sequence[str]) -> tuple[str, ...] | None:
    """Names for a first line that is a row of KDD: 41 features, then perhaps attack name and difficulty."""
    row = 41 <= len(cells) <= 43 and cells[1].strip() in ("tcp", "udp", "icmp") and cells[0].strip().isdecimal()
    return KDD[: len(cells)] if row else None


def plain_name(name: str) -> str:
    """As names are compared.

    >>> plain_name("id.orig_h"), plain_name(" Flow Bytes/s")
    ('id_orig_h', 'flow_bytes_s')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _fits(name: str, patterns: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())
