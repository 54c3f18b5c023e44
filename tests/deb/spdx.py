#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""spdx.py FILE.deb...: is the bill of materials in each package what SPDX 2.3 asks for, and does it say
what is really in the package? Shares nothing with the program that writes it. Exit status: 0, or 1 and
what is wrong.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile

ID = re.compile(r"SPDXRef-[A-Za-z0-9.-]+\Z")
ACTOR = re.compile(r"(Organization|Person|Tool): \S.*\Z")
PURL = re.compile(r"pkg:deb/(debian/)?[a-z0-9][a-z0-9+.-]*@[^?\s:+]+\?arch=[a-z0-9-]+\Z")
RELATIONS = {"DESCRIBES", "CONTAINS", "DEPENDS_ON", "BUILD_DEPENDENCY_OF"}
HEX = {"SHA1": 40, "SHA256": 64}


def check_document(bom, wrong):
    """SPDX 2.3, clause 6: document creation information."""
    wrong(bom.get("spdxVersion") != "SPDX-2.3", "6.1 spdxVersion")
    wrong(bom.get("dataLicense") != "CC0-1.0", "6.2 dataLicense")
    wrong(bom.get("SPDXID") != "SPDXRef-DOCUMENT", "6.3 SPDXID")
    wrong(not bom.get("name"), "6.4 name")
    wrong(not re.match(r"https://[^#\s]+\Z", bom.get("documentNamespace", "")), "6.5 documentNamespace")
    info = bom.get("creationInfo", {})
    wrong(not info.get("creators") or not all(ACTOR.match(one) for one in info["creators"]), "6.8 creators")
    wrong(not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", info.get("created", "")), "6.9 created")


def check_package(package, wrong):
    """Clause 7."""
    name = package.get("name", "?")
    wrong(not package.get("name"), "7.1 name")
    wrong(not ID.match(package.get("SPDXID", "")), f"7.2 SPDXID of {name}")
    wrong(not ACTOR.match(package.get("supplier", "")), f"7.5 supplier of {name}")
    wrong(not package.get("downloadLocation"), f"7.7 downloadLocation of {name}")
    for field in ("licenseConcluded", "licenseDeclared", "copyrightText"):
        wrong(not package.get(field), f"7.13, 7.15, 7.17 {field} of {name}")
    wrong(not package.get("versionInfo") and "comment" not in package, f"7.3 version of {name}, or why there is none")
    for reference in package.get("externalRefs", []):
        wrong(reference.get("referenceType") != "purl" or not PURL.match(reference.get("referenceLocator", "")),
              f"7.21 external reference of {name}: {reference.get('referenceLocator')}")


def check_file(entry, wrong):
    """Clause 8."""
    name = entry.get("fileName", "?")
    wrong(not name.startswith("./"), f"8.1 fileName {name}")
    wrong(not ID.match(entry.get("SPDXID", "")), f"8.2 SPDXID of {name}")
    sums = {one["algorithm"]: one["checksumValue"] for one in entry.get("checksums", [])}
    wrong(set(sums) != set(HEX), f"8.4 checksums of {name}")
    wrong(any(not re.match(r"[0-9a-f]{%d}\Z" % HEX[a], v) for a, v in sums.items()), f"8.4 digests of {name}")
    for field in ("licenseConcluded", "licenseInfoInFiles", "copyrightText"):
        wrong(not entry.get(field), f"8.5 to 8.8 {field} of {name}")


def check_references(bom, wrong):
    """Clause 11, and each id once."""
    ids = [one.get("SPDXID") for one in [bom] + bom.get("packages", []) + bom.get("files", [])]
    wrong(len(ids) != len(set(ids)), "an SPDXID stands for two things")
    described, linked = 0, set()
    for one in bom.get("relationships", []):
        wrong(one["relationshipType"] not in RELATIONS, f"11.1 relationship {one['relationshipType']}")
        wrong(one["spdxElementId"] not in ids or one["relatedSpdxElement"] not in ids, f"dangling: {one}")
        described += one["relationshipType"] == "DESCRIBES"
        linked |= {one["spdxElementId"], one["relatedSpdxElement"]}
    wrong(described != 1, "the document must describe one package")
    wrong(set(ids) != linked, f"nothing says how these belong: {set(ids) - linked}")


def check_content(bom, deb, wrong):
    """Files and versions against the package itself."""
    pipe = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
    real = {}
    with tarfile.open(fileobj=io.BytesIO(pipe)) as tar:
        for member in tar:
            if member.isfile() and not member.name.endswith(".spdx.json"):
                real[member.name] = tar.extractfile(member).read()
    told = {one["fileName"]: one for one in bom["files"]}
    wrong(set(told) != set(real), f"files that differ: {sorted(set(told) ^ set(real))}")
    sha1 = []
    for name, content in real.items():
        sums = {one["algorithm"]: one["checksumValue"] for one in told.get(name, {}).get("checksums", [])}
        wrong(sums.get("SHA256") != hashlib.sha256(content).hexdigest(), f"SHA256 of {name}")
        wrong(sums.get("SHA1") != hashlib.sha1(content).hexdigest(), f"SHA1 of {name}")
        sha1.append(hashlib.sha1(content).hexdigest())
    itself = next(one for one in bom["packages"] if one.get("filesAnalyzed"))
    code = hashlib.sha1("".join(sorted(sha1)).encode()).hexdigest()
    wrong(itself.get("packageVerificationCode", {}).get("packageVerificationCodeValue") != code, "7.9 verification code")

    def field(which):
        return subprocess.run(["dpkg-deb", "-f", deb, which], check=True, capture_output=True, text=True).stdout.strip()
    wrong((itself["name"], itself["versionInfo"]) != (field("Package"), field("Version")), "name or version")
    packages = {one["SPDXID"]: one for one in bom["packages"]}
    needs = [{packages[one["relatedSpdxElement"]]["name"],
              *re.findall(r"provides (\S+?)(?:,|$)", packages[one["relatedSpdxElement"]].get("comment", ""))}
             for one in bom["relationships"] if one["relationshipType"] == "DEPENDS_ON"]
    asked = [{re.split(r"[\s(:]", alternative.strip())[0] for alternative in one.split("|")}
             for one in field("Depends").split(",")]
    wrong(not all(any(n & names for n in needs) for names in asked) or
          not all(any(n & names for names in asked) for n in needs),
          f"dependencies: {needs}, but the package asks for {asked}")
    built = [packages[one["spdxElementId"]] for one in bom["relationships"]
             if one["relationshipType"] == "BUILD_DEPENDENCY_OF"]
    wrong(not built or not all("versionInfo" in one for one in built), "build dependencies without a version")


def check(deb):
    found = []

    def wrong(condition, what):
        if condition:
            found.append(what)
    name = subprocess.run(["dpkg-deb", "-f", deb, "Package"], check=True, capture_output=True, text=True).stdout.strip()
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as files:
        bom = json.load(files.extractfile(f"./usr/share/doc/{name}/{name}.spdx.json"))
    check_document(bom, wrong)
    for package in bom.get("packages", []):
        check_package(package, wrong)
    for entry in bom.get("files", []):
        check_file(entry, wrong)
    check_references(bom, wrong)
    check_content(bom, deb, wrong)
    for what in found:
        print(f"{os.path.basename(deb)}: {what}")
    if not found:
        print(f"{os.path.basename(deb)}: SPDX 2.3, {len(bom['files'])} files, {len(bom['packages'])} packages")
    return not found


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: spdx.py FILE.deb...")
    sys.exit(not all([check(deb) for deb in sys.argv[1:]]))
