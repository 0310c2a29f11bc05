"""Small files of flow records in every format, with the header lines that the tools write, and rows made by a seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

_FIELDS = (
    "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state local_orig "
    "local_resp missed_bytes history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes tunnel_parents"
)
_TYPES = (
    "time string addr port addr port enum string interval count count string bool bool count string count count count count "
    "set[string]"
)
ZEEK, ZEEK_TYPES = _FIELDS.split(), _TYPES.split()
ZEEK_HEAD = (
    "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n#open\t2024-03-04-05-06-07\n"
    f"#fields\t{chr(9).join(ZEEK)}\n#types\t{chr(9).join(ZEEK_TYPES)}\n"
)
# CSE-CIC-IDS2018; and the CICIDS2017 spelling, with its leading blanks and a name that is there twice.
CIC_2018 = (
    "Dst Port,Protocol,Timestamp,Flow Duration,Tot Fwd Pkts,Tot Bwd Pkts,TotLen Fwd Pkts,TotLen Bwd Pkts,Fwd Pkt Len Max,"
    "Fwd Pkt Len Mean,Flow Byts/s,Flow Pkts/s,Flow IAT Mean,Flow IAT Max,Fwd PSH Flags,Fwd Header Len,SYN Flag Cnt,"
    "Down/Up Ratio,Init Fwd Win Byts,Active Mean,Idle Mean,Label"
)
CIC_2017 = (
    " Destination Port, Flow Duration, Total Fwd Packets, Total Backward Packets,Total Length of Fwd Packets,"
    " Fwd Packet Length Max,Flow Bytes/s, Flow Packets/s, Flow IAT Mean, Fwd Header Length, SYN Flag Count,"
    " Fwd Header Length,Init_Win_bytes_forward, Idle Mean, Label"
)
NFSTREAM = (
    "id,expiration_id,src_ip,src_mac,src_oui,src_port,dst_ip,dst_mac,dst_oui,dst_port,protocol,ip_version,vlan_id,tunnel_id,"
    "bidirectional_first_seen_ms,bidirectional_last_seen_ms,bidirectional_duration_ms,bidirectional_packets,"
    "bidirectional_bytes,src2dst_packets,src2dst_bytes,dst2src_packets,dst2src_bytes,application_name,"
    "application_category_name,application_is_guessed,application_confidence,requested_server_name,client_fingerprint,"
    "server_fingerprint,user_agent,content_type"
)
NFDUMP = (
    "ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out,sas,das,smk,dmk,dtos,dir,nh,nhb,svln,dvln,ismc,odmc,"
    "idmc,osmc,mpls1,mpls2,mpls3,mpls4,mpls5,mpls6,mpls7,mpls8,mpls9,mpls10,cl,sl,al,ra,eng,exid,tr"
)
NETFLOW = (
    "IPV4_SRC_ADDR,L4_SRC_PORT,IPV4_DST_ADDR,L4_DST_PORT,PROTOCOL,L7_PROTO,IN_BYTES,OUT_BYTES,IN_PKTS,OUT_PKTS,TCP_FLAGS,"
    "FLOW_DURATION_MILLISECONDS,Label,Attack"
)
SERVICES = [
    ("443", "tcp", "ssl"),
    ("80", "tcp", "http"),
    ("53", "udp", "dns"),
    ("22", "tcp", "ssh"),
    ("8080", "tcp", "-"),
]


class Flows:
    """Rows as plain values, one after the other, the same for a seed."""

    def __init__(self, rows: int, seed: int = 0, hours: float = 28.0):
        random = np.random.default_rng(seed)
        self.rows, self.random = rows, random
        self.service = random.choice(len(SERVICES), rows, p=[0.45, 0.2, 0.2, 0.1, 0.05])
        self.failed = random.random(rows) < 0.1
        self.seconds = np.where(self.failed, 0.0, np.exp(random.normal(0, 2, rows))).round(6)
        self.packets = np.where(self.failed, 1, 2 + random.poisson(np.exp(random.normal(1.5, 1, rows))))
        self.bytes = np.where(self.failed, 0, (self.packets * random.gamma(2, 200, rows)).astype(int))
        self.back = np.where(self.failed, 0, (self.bytes * random.gamma(2, 2, rows)).astype(int))
        self.time = 1_709_528_767.0 + np.sort(random.random(rows)) * hours * 3600
        self.client = random.integers(32_768, 65_536, rows)

    def zeek(self, i: int) -> list[str]:
        port, proto, name = SERVICES[self.service[i]]
        failed, packets = bool(self.failed[i]), int(self.packets[i])
        sent, got = str(self.bytes[i]), str(self.back[i])
        return [
            f"{self.time[i]:.6f}", f"C{i:06x}", f"10.0.0.{i % 50 + 1}", str(self.client[i]), f"192.0.2.{i % 9}", port, proto,
            "-" if failed else name, "-" if failed else f"{self.seconds[i]:.6f}", "-" if failed else sent,
            "-" if failed else got, "S0" if failed else "SF", "T", "F", "0", "S" if failed else "ShADadFf", str(packets),
            str(40 * packets + int(sent)), str(packets), str(40 * packets + int(got)), "(empty)",
        ]  # fmt: skip

    def cic_2018(self, i: int) -> list[str]:
        port, proto, _ = SERVICES[self.service[i]]
        seconds, packets = float(self.seconds[i]), int(self.packets[i])
        speed = f"{self.bytes[i] / seconds:.6f}" if seconds else "Infinity"
        hours, day = int(self.time[i] // 3600 % 24), 4 + int(self.time[i] // 86400 - self.time[0] // 86400)
        return [
            port, "6" if proto == "tcp" else "17", f"{day:02}/02/2018 {hours:02}:31:0{i % 10}", str(int(seconds * 1e6)),
            str(packets), str(packets), str(self.bytes[i]), str(self.back[i]), str(min(int(self.bytes[i]), 1460)),
            f"{self.bytes[i] / packets:.4f}", speed, f"{packets / seconds:.6f}" if seconds else "NaN", f"{seconds * 1e5:.2f}",
            f"{seconds * 3e5:.1f}", str(i % 2), str(20 * packets), str(int(self.failed[i])), "1", str(-1 if i % 5 else 8192),
            "0", "0", "Benign" if i % 10 else "Infilteration",
        ]  # fmt: skip

    def cic_2017(self, i: int) -> list[str]:
        row = dict(zip(CIC_2018.split(","), self.cic_2018(i), strict=True))
        names = (
            "Dst Port,Flow Duration,Tot Fwd Pkts,Tot Bwd Pkts,TotLen Fwd Pkts,Fwd Pkt Len Max,Flow Byts/s,Flow Pkts/s,"
            "Flow IAT Mean,Fwd Header Len,SYN Flag Cnt,Fwd Header Len,Init Fwd Win Byts,Idle Mean,Label"
        )
        return [row[name] for name in names.split(",")]

    def nfstream(self, i: int) -> list[str]:
        port, proto, name = SERVICES[self.service[i]]
        first, lasted = int(self.time[i] * 1000), int(self.seconds[i] * 1000)
        sent, got, packets = int(self.bytes[i]), int(self.back[i]), int(self.packets[i])
        return [
            str(i), "0", f"10.0.0.{i % 50}", "aa:bb:cc:00:11:22", "aa:bb:cc", str(self.client[i]), "192.0.2.1",
            "aa:bb:cc:00:11:23", "aa:bb:cc", port, "6" if proto == "tcp" else "17", "4", "0", "0", str(first),
            str(first + lasted), str(lasted), str(2 * packets), str(sent + got), str(packets), str(sent), str(packets), str(got),
            {"ssl": "TLS", "-": "Unknown"}.get(name, name.upper()), "Web", "0", "6", "", "", "", "", "",
        ]  # fmt: skip

    def nfdump(self, i: int) -> list[str]:
        port, proto, _ = SERVICES[self.service[i]]
        hours, day = int(self.time[i] // 3600 % 24), 4 + int(self.time[i] // 86400 - self.time[0] // 86400)
        when = f"2024-03-{day:02} {hours:02}:06:07"
        return [
            when, when, f"{self.seconds[i]:.3f}", f"10.0.0.{i % 50}", "192.0.2.1", str(self.client[i]), port, proto.upper(),
            "....S." if self.failed[i] else ".AP.SF", "0", "0", str(self.packets[i]), str(self.bytes[i]), "0", "0", "1", "2", "0",
            "0", "0", "0", "0", "0", "0.0.0.0", "0.0.0.0", "0", "0", *["00:00:00:00:00:00"] * 4, *["0-0-0"] * 10,
            "    0.000", "    0.000", "    0.000", "0.0.0.0", "0/0", "1", f"{when}.000",
        ]  # fmt: skip

    def netflow(self, i: int) -> list[str]:
        port, proto, _ = SERVICES[self.service[i]]
        return [
            f"10.0.0.{i % 50}", str(self.client[i]), "192.0.2.1", port, "6" if proto == "tcp" else "17", "7.178",
            str(self.bytes[i]), str(self.back[i]), str(self.packets[i]), str(self.packets[i]), "2" if self.failed[i] else "27",
            str(int(self.seconds[i] * 1000)), str(int(i % 10 == 0)), "DoS" if i % 10 == 0 else "Benign",
        ]  # fmt: skip

    def kdd(self, i: int) -> list[str]:
        _, proto, name = SERVICES[self.service[i]]
        failed, busy = bool(self.failed[i]), int(self.packets[i])
        share = f"{(i % 101) / 100:.2f}"
        counts = ["0"] * 12
        counts[0], counts[5] = str(i % 3), str(int(i % 4 == 0))
        return [
            str(int(self.seconds[i])), proto, {"ssl": "http_443", "-": "other"}.get(name, name), "S0" if failed else "SF",
            str(self.bytes[i]), str(self.back[i]), "0", "0", "0", "0", "0", "0" if failed else "1", *counts[:10], str(busy),
            str(busy), *["1.00" if failed else "0.00"] * 2, "0.00", "0.00", "1.00", share, "0.00", "255", str(i % 255),
            *[share] * 8, "neptune" if failed else "normal", str(i % 22),
        ]  # fmt: skip


def zeek(path: Path, flows: Flows) -> Path:
    rows = "".join("\t".join(flows.zeek(i)) + "\n" for i in range(flows.rows))
    path.write_text(f"{ZEEK_HEAD}{rows}#close\t2024-03-04-06-00-00\n")
    return path


def zeek_json(path: Path, flows: Flows) -> Path:
    """As Zeek's JSON writer does: numbers as numbers, what is unset is not there."""
    with open(path, "w", encoding="utf-8") as file:
        for i in range(flows.rows):
            page: dict[str, object] = {}
            for name, kind, word in zip(ZEEK, ZEEK_TYPES, flows.zeek(i), strict=True):
                if word not in ("-", "(empty)"):
                    spelled = {"count": int, "port": int, "time": float, "interval": float, "bool": lambda w: w == "T"}
                    page[name] = spelled.get(kind, str)(word)
            file.write(json.dumps(page) + "\n")
    return path


def _csv(header: str, row: Callable[[int], list[str]], path: Path, rows: int, foot: str = "") -> Path:
    head = header + "\n" if header else ""
    path.write_text(head + "".join(",".join(row(i)) + "\n" for i in range(rows)) + foot)
    return path


def cic_2018(path: Path, flows: Flows) -> Path:
    _csv(CIC_2018, flows.cic_2018, path, flows.rows)
    lines = path.read_text().splitlines()
    lines.insert(len(lines) // 2, CIC_2018)  # the header comes again in several of its files
    path.write_text("\n".join(lines) + "\n")
    return path


def cic_2017(path: Path, flows: Flows) -> Path:
    return _csv(CIC_2017, flows.cic_2017, path, flows.rows)


def nfstream(path: Path, flows: Flows) -> Path:
    return _csv(NFSTREAM, flows.nfstream, path, flows.rows)


def nfdump(path: Path, flows: Flows) -> Path:
    foot = "Summary\nflows,bytes,packets,avg_bps,avg_pps,avg_bpp\n200,1,1,1,1,1\n"
    return _csv(NFDUMP, flows.nfdump, path, flows.rows, foot)


def netflow(path: Path, flows: Flows) -> Path:
    return _csv(NETFLOW, flows.netflow, path, flows.rows)


def kdd(path: Path, flows: Flows) -> Path:
    return _csv("", flows.kdd, path, flows.rows)


# name of the file -> (format, how it is written)
FILES: dict[str, tuple[str, Callable[[Path, Flows], Path]]] = {
    "conn.log": ("zeek", zeek),
    "conn.json": ("zeek", zeek_json),
    "cic2018.csv": ("cicflowmeter", cic_2018),
    "cic2017.csv": ("cicflowmeter", cic_2017),
    "nfstream.csv": ("nfstream", nfstream),
    "nfdump.csv": ("nfdump", nfdump),
    "netflow.csv": ("netflow", netflow),
    "KDD.txt": ("kdd", kdd),
}


def written(name: str, folder: Path, rows: int = 200, seed: int = 0, hours: float = 28.0) -> Path:
    return FILES[name][1](folder / name, Flows(rows, seed, hours))
