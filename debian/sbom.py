#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sbom.py PACKAGE FOLDER: an SPDX 2.3 document, as JSON on standard output, about the binary package
staged in FOLDER: its files with their digests, what it runs with and what it was built with, each in the
version that was installed at the build. The same build gives the same document: its time is the
changelog's, its namespace a digest of what it says.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time

PROJECT = "The lockbridge project"
HOMEPAGE = "https://lockbridge.example"
LICENCE = "Apache-2.0"
# what build-essential brings, and no Build-Depends names
TOOLCHAIN = ["gcc", "libc6-dev"]


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def paragraphs(path):
    """The fields of each paragraph of a control file."""
    with open(path, encoding="utf-8") as f:
        for paragraph in re.split(r"\n\n+", f.read().strip()):
            fields = re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", paragraph, re.M)
            yield {name: value.strip() for name, value in fields}


def alternatives(field):
    """[["a", "b"], ["c"]] of "a (>= 1) | b, c:any". What only some build profiles want is left out."""
    found = []
    for part in re.split(r",\s*", field):
        if part and "<" not in re.sub(r"\([^)]*\)", "", part):
            found.append([re.sub(r"[\s(\[:].*", "", one.strip()) for one in part.split("|")])
    return found


def all_installed():
    """What is installed here: name -> (version, source package, its version, architecture, what it provides)."""
    form = "${db:Status-Status}\t${Package}\t${Version}\t${source:Package}\t${source:Version}\t${Architecture}\t${Provides}\n"
    found = {}
    for line in sorted(output("dpkg-query", "-W", "-f", form).splitlines()):
        status, name, version, source, source_version, arch, provides = line.split("\t")
        if status == "installed":
            provided = re.findall(r"(?:^|, )([a-z0-9][a-z0-9+.-]*)", provides)
            found.setdefault(name, []).append((version, source, source_version, arch, provided))
    return found


INSTALLED = all_installed()


def installed(name, arch):
    """(name, facts) of the package itself, for this architecture before any other, or of the one that
    provides it; None."""
    for want in (lambda one: one in (arch, "all"), lambda one: True):
        for facts in INSTALLED.get(name, []):
            if want(facts[3]):
                return name, facts
    for other in sorted(INSTALLED):
        for facts in INSTALLED[other]:
            if name in facts[4]:
                return other, facts
    return None


def digest(name, path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, name).hexdigest()


def spdx_id(kind, name):
    return f"SPDXRef-{kind}-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def file_type(path):
    with open(path, "rb") as f:
        start = f.read(4)
    if start == b"\x7fELF":
        return "BINARY"
    if path.endswith(".gz"):
        return "ARCHIVE"
    if re.search(r"/share/(doc|man)/", path):
        return "DOCUMENTATION"
    return "SOURCE" if "bash-completion" in path else "TEXT"


def staged_files(folder):
    found = []
    for where, folders, names in os.walk(folder):
        if where == folder:
            folders[:] = [one for one in folders if one != "DEBIAN"]
        found += [os.path.join(where, name) for name in names
                  if not os.path.islink(os.path.join(where, name)) and not name.endswith(".spdx.json")]
    return sorted(found)


def describe_file(folder, path):
    name = "./" + os.path.relpath(path, folder)
    return {
        "fileName": name,
        # paths that differ in what an id may not hold stay apart by the digest
        "SPDXID": spdx_id("File", name[2:]) + "-" + hashlib.sha256(name.encode()).hexdigest()[:8],
        "fileTypes": [file_type(path)],
        "checksums": [{"algorithm": "SHA1", "checksumValue": digest("sha1", path)},
                      {"algorithm": "SHA256", "checksumValue": digest("sha256", path)}],
        "licenseConcluded": LICENCE,
        "licenseInfoInFiles": [LICENCE],
        "copyrightText": f"Copyright 2026 {PROJECT}",
    }


def verification_code(files):
    """SPDX 2.3, 7.9: SHA-1 over the files' SHA-1 digests, sorted and joined."""
    sums = sorted(one["checksumValue"] for f in files for one in f["checksums"] if one["algorithm"] == "SHA1")
    return hashlib.sha1("".join(sums).encode()).hexdigest()


def describe_itself(name, version, arch, maintainer, description, files):
    return {
        "name": name,
        "SPDXID": spdx_id("Package", name),
        "versionInfo": version,
        "supplier": f"Organization: {maintainer}",
        "originator": f"Organization: {maintainer}",
        "downloadLocation": "NOASSERTION",
        "homepage": HOMEPAGE,
        "filesAnalyzed": True,
        "packageVerificationCode": {"packageVerificationCodeValue": verification_code(files)},
        "licenseConcluded": LICENCE,
        "licenseDeclared": LICENCE,
        "licenseInfoFromFiles": [LICENCE],
        "copyrightText": f"Copyright 2026 {PROJECT}",
        "summary": description,
        "primaryPackagePurpose": "APPLICATION",
        "externalRefs": [purl(name, version, arch)],
    }


def purl(name, version, arch, vendor=""):
    quoted = version.replace("+", "%2B").replace(":", "%3A")
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
            "referenceLocator": f"pkg:deb/{vendor}{name}@{quoted}?arch={arch}"}


def describe_other(names, arch):
    """The first of the alternatives that is installed here; else the first, without a version."""
    asked, (name, facts) = next(((n, f) for n in names if (f := installed(n, arch))), (names[0], (names[0], None)))
    package = {
        "name": name,
        "SPDXID": spdx_id("Package", name),
        "supplier": "Organization: Debian",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    }
    if facts:
        version, source, source_version, other_arch, _ = facts
        package["versionInfo"] = version
        package["sourceInfo"] = f"built from {source} {source_version}"
        package["externalRefs"] = [purl(name, version, other_arch, "debian/")]
    else:
        package["comment"] = "not installed where this was built; any version that the dependency allows"
    if asked != name:
        package["comment"] = f"provides {asked}"
    return package


def others(fields, arch, seen):
    found = {}
    for names in fields:
        package = describe_other(names, arch)
        known = found.get(package["SPDXID"])
        if known and known.get("comment") != package.get("comment"):
            known["comment"] = ", ".join(sorted({*known["comment"].split(", "), package["comment"]}))
        elif package["SPDXID"] not in seen:
            found.setdefault(package["SPDXID"], package)
    return found


def document(name, folder):
    source = next(paragraphs("debian/control"))
    binary = next(paragraphs(os.path.join(folder, "DEBIAN", "control")))
    version = binary["Version"]
    arch = os.environ.get("DEB_HOST_ARCH") or output("dpkg-architecture", "-qDEB_HOST_ARCH").strip()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or output("dpkg-parsechangelog", "-STimestamp"))
    maintainer = re.sub(r"\s*<(.*)>", r" (\1)", source["Maintainer"])
    files = [describe_file(folder, path) for path in staged_files(folder)]
    itself = describe_itself(name, version, arch, maintainer, binary["Description"].splitlines()[0], files)
    needs = others(alternatives(binary.get("Pre-Depends", "") + ", " + binary.get("Depends", "")), arch, {})
    tools = others(alternatives(source["Build-Depends"]) + [[one] for one in TOOLCHAIN], arch, needs)
    said = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{name}_{version}_{arch}",
        "creationInfo": {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
                         "creators": [f"Organization: {maintainer}", f"Tool: lockbridge-sbom-{version}"]},
        "packages": [itself, *needs.values(), *tools.values()],
        "files": files,
        "relationships":
            [relation("SPDXRef-DOCUMENT", "DESCRIBES", itself["SPDXID"])] +
            [relation(itself["SPDXID"], "CONTAINS", one["SPDXID"]) for one in files] +
            [relation(itself["SPDXID"], "DEPENDS_ON", one) for one in needs] +
            [relation(one, "BUILD_DEPENDENCY_OF", itself["SPDXID"]) for one in tools],
    }
    said["documentNamespace"] = f"{HOMEPAGE}/spdx/{said['name']}-" + \
        hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
    return said


def relation(one, how, other):
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: sbom.py PACKAGE FOLDER")
    json.dump(document(sys.argv[1], sys.argv[2]), sys.stdout, indent=1, sort_keys=True)
    print()
