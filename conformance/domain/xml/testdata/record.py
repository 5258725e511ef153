#!/usr/bin/python3
"""Records what libvirt's test driver makes of definitions: NAME.in.xml to NAME.out.xml.

Needs python3-libvirt (Debian 12: libvirt 9.0.0) and no daemon.  Run in this directory.
"""
import glob

import libvirt

connection = libvirt.open("test:///default")
for given in sorted(glob.glob("*.in.xml")):
    domain = connection.defineXML(open(given).read())
    with open(given.replace(".in.xml", ".out.xml"), "w") as out:
        out.write(domain.XMLDesc())
    domain.undefine()
