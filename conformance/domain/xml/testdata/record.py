#!/usr/bin/python3
"""Records what libvirt's test driver makes of definitions.

NAME.in.xml to NAME.out.xml, and in disks.json "error" or "out" for each "disks".  Needs
python3-libvirt (Debian 12: libvirt 9.0.0) and no daemon.  Run in this directory.
"""
import glob
import json
import re

import libvirt

libvirt.registerErrorHandler(lambda *_: None, None)
connection = libvirt.open("test:///default")

for given in sorted(glob.glob("*.in.xml")):
    domain = connection.defineXML(open(given).read())
    with open(given.replace(".in.xml", ".out.xml"), "w") as out:
        out.write(domain.XMLDesc())
    domain.undefine()


def names(prefix):
    return {getattr(libvirt, n): n[len(prefix):] for n in dir(libvirt) if n.startswith(prefix)}


CLASSES = ("XML error: ", "unsupported configuration: ", "invalid argument: ", "internal error: ")
DOMAINS, CODES = names("VIR_FROM_"), names("VIR_ERR_")
CODES[1] = "INTERNAL_ERROR"  # also the level VIR_ERR_WARNING
cases = json.load(open("disks.json"))
for case in cases:
    case.pop("error", None)
    case.pop("out", None)
    try:
        domain = connection.defineXML(
            "<domain type='test'><name>d</name><memory>1024</memory><os><type>hvm</type></os>"
            "<devices>" + case["disks"] + "</devices></domain>")
        case["out"] = "".join(re.findall(r"    <disk.*?</disk>\n", domain.XMLDesc(), re.S))
        domain.undefine()
    except libvirt.libvirtError as error:
        message = error.get_error_message()
        for text in CLASSES:
            message = message.removeprefix(text)
        case["error"] = [DOMAINS[error.get_error_domain()], CODES[error.get_error_code()], message]
with open("disks.json", "w") as out:
    out.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
