# SPDX-License-Identifier: Apache-2.0
"""Enrolment at the desk: whom it certifies, what it gives out, renewal, revocation, and what brokers make of it."""

import base64
import datetime
import os
import shutil
import sqlite3
import time

import pytest
import wire
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from harness import program, wait_for
from mtls import MtlsCity, openssl, read_enrolment

DAY = 86400


@pytest.fixture
def city():
    with MtlsCity() as c:
        yield c.start()


@pytest.fixture
def served(city):
    city.start_serve()
    return city


def name_of(certificate):
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return name.value


def mode(path):
    return os.stat(path).st_mode & 0o777


# --- the enrolment file ----------------------------------------------------------------------------


def test_the_enrolment_file_as_another_program_reads_it(city):
    lock = wire.Key()
    city.desk("gateway", "add", "gw-17").ok()
    city.desk("lock", "add", "lock-1", "--key", base64.b64encode(lock.public).decode(), "--gateway", "gw-17").ok()
    city.desk("gateway", "add", "gw-18").ok()
    city.desk("lock", "add", "lock-2", "--key", base64.b64encode(lock.public).decode(), "--gateway", "gw-18").ok()
    box = city.enrolled("gw-17")
    e = box.enrolment
    assert e["gateway"] == "gw-17" and e["root_topic"] == "lockbridge"
    assert abs(e["issued"] - time.time()) < 120
    assert e["root_key"] == city.desk("keys", "show", "root").ok().out
    assert e["brokers"] == [{"host": "localhost", "port": city.port}]
    assert [entry["id"] for entry in e["locks"]] == ["lock-1"]
    assert base64.b64decode(e["locks"][0]["key"]) == lock.public
    with open(city.path("broker-files", "ca.pem"), encoding="ascii") as f:
        assert e["broker_ca"] == f.read()
    assert mode(box.path("enrolment.json")) == 0o600


def test_the_certificate_is_for_the_requests_key_and_for_clients_alone(city):
    box = city.enrolled("gw-17")
    certificate, authority = box.certificate, city.authority()
    authority.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes,
                                  ec.ECDSA(hashes.SHA256()))
    with open(box.request_file, "rb") as f:
        request = x509.load_pem_x509_csr(f.read())
    assert certificate.public_key().public_numbers() == request.public_key().public_numbers()
    assert name_of(certificate) == "gw-17" and len(certificate.subject) == 1
    assert certificate.issuer == authority.subject
    extensions = certificate.extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and not basic.value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    life = certificate.not_valid_after - datetime.datetime.utcnow()
    assert datetime.timedelta(days=89, hours=23) < life <= datetime.timedelta(days=90)
    assert certificate.not_valid_before < datetime.datetime.utcnow()
    assert certificate.serial_number.bit_length() > 100
    basic = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert basic.ca and basic.path_length == 0
    assert authority.not_valid_after - datetime.datetime.utcnow() > datetime.timedelta(days=3650)
    assert mode(city.path("desk", "keys", "ca.key")) == 0o600


def test_without_out_the_file_goes_to_standard_output_and_a_request_may_come_by_standard_input(city):
    box = city.box("gw-17")
    with open(box.request_file, "rb") as f:
        done = city.run([program("lockbridge-desk"), "--dir", city.path("desk"), "gateway", "add", "gw-17",
                         "--request", "-"], stdin=f.read()).ok()
    assert read_enrolment(done.out)["gateway"] == "gw-17"
    said = box.add("--json").ok().json
    assert read_enrolment(said["enrolment"])["gateway"] == "gw-17" and not said["replaced"]
    assert said["root"] == next(k["kid"] for k in city.desk("keys", "show", "--json").json if k["role"] == "root")


def test_a_gateway_prefers_the_broker_of_its_district_and_falls_back_to_the_others(city):
    ca = city.path("broker-files", "ca.pem")
    city.desk("config", "set", *(w for n, place in enumerate(("north.example:8883", "south.example", "[fd00::1]:9"))
                                 for w in ("--broker", f"127.0.0.1:{n + 1}", "--ca", ca, "--public", place))).ok()
    north, south, six = ({"host": "north.example", "port": 8883}, {"host": "south.example", "port": 8883},
                         {"host": "fd00::1", "port": 9})
    box = city.box("gw-17")
    for words, wanted in (([], [north, south, six]), (["--broker", "south.example"], [south, north, six]),
                          (["--broker", "south.example:8883"], [south, north, six]),
                          (["--broker", "[fd00::1]:9"], [six, north, south])):
        said = box.add("--json", *words).ok().json
        assert read_enrolment(said["enrolment"])["brokers"] == wanted, words
    wrong = box.add("--broker", "south.example:1")
    assert wrong.status == 1 and "no broker south.example:1 is in the set" in wrong.err
    assert city.desk("gateway", "add", "gw-18", "--broker", "south.example").status == 2


def test_a_lifetime_may_be_set_and_ends_with_the_authority(city):
    city.desk("config", "set", "--certificate-lifetime", "10d").ok()
    life = city.enrolled("gw-1").certificate.not_valid_after - datetime.datetime.utcnow()
    assert datetime.timedelta(days=9, hours=23) < life <= datetime.timedelta(days=10)
    city.desk("config", "set", "--certificate-lifetime", "9000d").ok()
    assert city.enrolled("gw-2").certificate.not_valid_after == city.authority().not_valid_after
    assert city.desk("config", "set", "--certificate-lifetime", "soon").status == 2


def test_several_brokers_are_enrolled_with_all_that_certifies_them(city):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", city.path("other.key"), "-subj",
            "/O=No common name", "-days", "30", "-out", city.path("other.pem"))
    city.desk("config", "set", "--broker", f"127.0.0.1:{city.desk_port}", "--ca", city.path("desk", "ca.pem"),
              "--public", "mqtt.city.example", "--broker", "[::1]:18883", "--ca", city.path("other.pem"),
              "--broker", "third.example", "--ca", city.path("desk", "ca.pem")).ok()
    e = city.enrolled("gw-17").enrolment
    assert e["brokers"] == [{"host": "mqtt.city.example", "port": 8883}, {"host": "::1", "port": 18883},
                            {"host": "third.example", "port": 8883}]
    with open(city.path("other.pem"), encoding="ascii") as f:
        assert f.read().strip() in e["broker_ca"]
    assert e["broker_ca"].count("BEGIN CERTIFICATE") == 2


# --- what is refused at enrolment -------------------------------------------------------------------


def refused(done, *words):
    assert done.status == 1, done.out + done.err
    for word in words:
        assert word in done.err, done.err


def test_a_request_that_is_not_this_gateways_is_refused(city):
    box = city.box("gw-17")
    box.request_file = box.request("gw-18", file="wrong-name.pem")
    refused(box.add(), "gw-18", "gw-17", "another box")
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", box.path("rsa.key"), "-subj", "/CN=gw-17",
            "-out", box.path("rsa.pem"))
    box.request_file = box.path("rsa.pem")
    refused(box.add(), "P-256", "lockbridgectl request gw-17")
    with open(box.request(), "r+", encoding="ascii") as f:
        lines = f.readlines()
        lines[3] = lines[3][:20] + ("A" if lines[3][20] != "A" else "B") + lines[3][21:]
        f.seek(0)
        f.writelines(lines)
    box.request_file = box.path("request.pem")
    refused(box.add(), "lockbridgectl request gw-17")
    for content in (b"", b"nonsense\n", os.urandom(300), b"A" * 100000):
        with open(box.path("request.pem"), "wb") as f:
            f.write(content)
        refused(box.add(), "request")
    box.request_file = box.path("nowhere")
    refused(box.add(), "nowhere", "No such file")
    assert city.query("SELECT count(*) FROM certificate") == [(0,)]
    assert city.query("SELECT count(*) FROM gateway") == [(0,)]


def test_a_forged_signature_is_named_as_such(city):
    box = city.box("gw-17")
    with open(box.request_file, "rb") as f:
        der = bytearray(x509.load_pem_x509_csr(f.read()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    with open(box.request_file, "wb") as f:
        f.write(b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(bytes(der))
                + b"-----END CERTIFICATE REQUEST-----\n")
    refused(box.add(), "damaged or forged", "lockbridgectl request gw-17")


def test_another_key_needs_replace_and_one_that_was_given_up_never_returns(city):
    first = city.enrolled("gw-17")
    again = first.add("--json").ok().json  # the same box: a new file, and the old certificate stays good
    assert not again["replaced"] and city.revoked() == set()
    second = city.box("gw-17", "second")
    refused(second.add(), "gw-17", "another key", "--replace")
    assert city.revoked() == set()
    said = second.add("--replace", "--json").ok().json
    assert said["replaced"] and "reload" in said["broker"]
    assert city.revoked() == {first.serial, again["serial"]}
    refused(first.add("--replace"), "revoked or replaced", "new one on the box")
    city.enrolled("gw-18")
    second.name = "gw-18"
    second.request_file = second.request()
    refused(second.add("--replace"), "gw-17", "copied")
    acts = [a["act"] for a in city.desk("log", "--json").json if a["gateway"] == "gw-17"]
    assert acts.count("gateway.enrol") == 2 and acts.count("gateway.replace") == 1


def test_a_broker_that_gateways_cannot_reach_over_tls_is_refused_with_the_way_out(city):
    city.desk("config", "set", "--broker", "plain.example:1883").ok()
    refused(city.box("gw-17").add(), "plain.example", "--ca", "broker files --host")
    assert city.query("SELECT count(*) FROM certificate") == [(0,)]
    city.desk("broker", "files", "--host", "plain.example").ok()
    assert city.box("gw-18").add().status == 0


def test_no_gateway_takes_the_desks_name(city):
    for words in (["gateway", "add", "desk"], ["gateway", "add", "desk", "--request", city.box("desk").request_file]):
        done = city.desk(*words)
        assert done.status == 2 and "desk's own name" in done.err


def test_options_that_make_no_sense_together_are_named(city):
    assert city.desk("gateway", "add", "gw-1", "--replace").status == 2
    assert city.desk("gateway", "add", "gw-1", "--out", city.path("x")).status == 2
    assert city.desk("gateway", "revoke", "gw-1", "--replace").status == 2
    refused(city.desk("gateway", "revoke", "gw-9"), "no such gateway")
    refused(city.desk("broker", "files", "--host", "a b"), "host name or an IP address")
    assert city.desk("config", "set", "--broker", "a", "--public", "b:0").status == 2


# --- the authority's files ---------------------------------------------------------------------------


def test_a_registry_from_before_gets_its_authority_when_it_is_needed(city):
    city.desk("gateway", "add", "gw-17").ok()
    with sqlite3.connect(city.path("desk", "desk.db")) as db:
        db.executescript("DROP TABLE certificate; ALTER TABLE gateway DROP COLUMN key;"
                         "ALTER TABLE gateway DROP COLUMN revoked; PRAGMA user_version = 1;"
                         "DELETE FROM setting WHERE name IN ('authority', 'crl', 'broker-files');")
    old = city.authority()
    for name in ("keys/ca.key", "ca.pem", "keys/desk.key", "desk.pem", "desk-ca.pem"):
        os.unlink(city.path("desk", name))
    shutil.rmtree(city.path("broker-files"))
    assert city.desk("gateway", "list", "--json").json[0]["revoked"] is False
    city.desk("broker", "files", "--out", city.path("broker-files"), "--host", "127.0.0.1").ok()
    assert city.authority().serial_number != old.serial_number
    box = city.enrolled("gw-17")
    assert box.certificate.issuer == city.authority().subject
    assert city.query("PRAGMA user_version") == [(2,)]


def test_an_authority_that_was_damaged_is_never_made_anew(city):
    box, key, certificate = city.box("gw-17"), city.path("desk", "keys", "ca.key"), city.path("desk", "ca.pem")
    other = city.path("other")
    os.rename(key, other)
    refused(box.add(), "ca.key", "missing", "backup")
    shutil.copy(other, key)
    os.chmod(key, 0o644)
    refused(box.add(), "ca.key", "0600")
    shutil.copy(box.path("key.pem"), key)
    os.chmod(key, 0o600)
    refused(box.add(), "not the authority that the registry knows")
    shutil.copy(other, key)
    os.chmod(key, 0o600)
    with open(certificate, "r+b") as f:
        f.truncate(100)
    refused(box.add(), "ca.pem", "backup")
    # a whole pair, but another's
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-subj",
            "/CN=other", "-days", "30", "-out", certificate)
    refused(box.add(), "not the authority that the registry knows")


# --- over the broker ---------------------------------------------------------------------------------


def renew(client, box, request=None):
    """Asks, and waits for what comes: the certificate."""
    seen = len(client.of(box.topic("certificate")))
    with open(request or box.request_file, "rb") as f:
        client.publish(box.topic("request"), f.read())
    wait_for("a certificate", lambda: len(client.of(box.topic("certificate"))) > seen)
    return client.of(box.topic("certificate"))[-1].decode()


def age(city, gateway, days):
    """As if its certificates had been issued that long ago."""
    with sqlite3.connect(city.path("desk", "desk.db"), timeout=20) as db:
        db.execute("UPDATE certificate SET issued = issued - ?1, not_after = not_after - ?1 WHERE gateway = ?2",
                   (days * DAY, gateway))


def test_an_enrolled_box_is_let_in_and_heard(served):
    """Also what it says at once, before serve has looked at its registry again."""
    box = served.enrolled("gw-17")
    box.client().up().publish(box.topic("presence"), b"online", retain=True)
    wait_for("the desk heard it", lambda: served.desk("gateway", "list", "--json").json[0]["presence"] == "online")
    listed, = served.desk("gateway", "list", "--json").json
    assert listed["certificate"]["days"] == 89 or listed["certificate"]["days"] == 90
    assert listed["certificate"]["serial"] == box.serial and not listed["revoked"]
    assert "CERTIFICATE" in served.desk("gateway", "list").out


def test_serve_and_commands_are_on_the_broker_at_the_same_time(served):
    """One client id for all of them, as gateways have it, and each would end the other's connection."""
    client = served.desk_client().subscribe("lockbridge/city/#")
    for _ in range(3):
        served.desk("publish").ok()
    served.desk("staff", "add", "--person", "19121212-1212", "--phone", "070-174 06 05").ok()
    served.desk("revoke", "--person", "19121212-1212").ok()
    assert client.outcome == "connected" and "no broker" not in served.serve.output()


def test_renewal_gives_the_same_again_until_half_of_its_life_is_over(served):
    box = served.enrolled("gw-17")
    client = box.client().up().subscribe(box.topic("certificate"))
    assert renew(client, box) == box.enrolment["certificate"]
    age(served, "gw-17", 44)
    assert renew(client, box) == box.enrolment["certificate"]
    age(served, "gw-17", 2)
    old = box.serial
    fresh = box.keep(renew(client, box))
    assert f"{fresh.serial_number:x}" != old and name_of(fresh) == "gw-17"
    served.authority().public_key().verify(fresh.signature, fresh.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    assert fresh.not_valid_after > datetime.datetime.utcnow() + datetime.timedelta(days=89)
    # a different request of the same key: the same certificate
    assert box.keep(renew(client, box, box.request(file="again.pem"))) == fresh
    box.client().up()
    assert served.revoked() == set()
    log = [a for a in served.desk("log", "--json").json if a["act"] == "certificate.issue"]
    assert [a["detail"]["serial"] for a in log] == [old, box.serial]
    assert {a["gateway"] for a in log} == {"gw-17"}


def test_a_request_waits_while_serve_is_away(served):
    box = served.enrolled("gw-17")
    served.stop_serve()
    client = box.client().up().subscribe(box.topic("certificate"))
    with open(box.request_file, "rb") as f:
        client.publish(box.topic("request"), f.read())
    served.start_serve()
    wait_for("a certificate", lambda: client.of(box.topic("certificate")))
    assert client.of(box.topic("certificate"))[0].decode() == box.enrolment["certificate"]


@pytest.mark.parametrize("case", ["other-key", "other-name", "damaged", "nonsense", "empty", "long", "certificate"])
def test_a_request_that_does_not_fit_gets_an_alarm_and_nothing_else(served, case):
    box, other = served.enrolled("gw-17"), served.enrolled("gw-18")
    client = box.client().up().subscribe(box.topic("certificate"))
    with open(box.request_file, "rb") as f:
        good = f.read()
    if case == "other-key":
        file = box.request(key=other.path("key.pem"), file="x.pem")
    elif case == "other-name":
        file = box.request("gw-18", file="x.pem")
    else:
        file = box.path("x.pem")
        content = {"damaged": good.replace(good[100:104], b"AAAA"), "nonsense": os.urandom(500), "empty": b"\n",
                   "long": good + b"\n" * 50000, "certificate": box.enrolment["certificate"].encode()}[case]
        with open(file, "wb") as f:
            f.write(content)
    with open(file, "rb") as f:
        client.publish(box.topic("request"), f.read())
    said = {"other-key": "another key", "other-name": "another gateway"}.get(case, "damaged")
    alarm, = wait_for("an alarm", lambda: served.alarms("certificate-refused"))
    assert alarm["subject"] == "gw-17" and said in alarm["detail"]
    # and right behind it, the good one is answered
    assert renew(client, box) == box.enrolment["certificate"]
    assert len(client.of(box.topic("certificate"))) == 1
    assert served.query("SELECT count(*) FROM certificate") == [(2,)]


def test_a_gateway_that_was_added_without_a_request_gets_no_certificate(served):
    """Its first one comes by an enrolment file: what it asks over MQTT proves nothing about its key."""
    box = served.enrolled("gw-17")
    served.desk("gateway", "add", "gw-18").ok()
    desk = served.desk_client()
    with open(box.request("gw-18", file="x.pem"), "rb") as f:
        desk.publish("lockbridge/gw/gw-18/request", f.read())
    alarm, = wait_for("an alarm", lambda: served.alarms("certificate-refused"))
    assert "never enrolled" in alarm["detail"]
    with open(box.request_file, "rb") as f:
        desk.publish("lockbridge/gw/gw-99/request", f.read())
    wait_for("an alarm", lambda: len(served.alarms("certificate-refused")) == 2)
    assert "not in the registry" in served.alarms("certificate-refused")[1]["detail"]


# --- revoking -----------------------------------------------------------------------------------------


def test_revoking_cuts_off_who_is_connected_and_lets_nobody_in(served):
    box, other = served.enrolled("gw-17"), served.enrolled("gw-18")
    desk = served.desk_client().subscribe("lockbridge/gw/#")
    live = box.client().up().subscribe(box.topic("document"), box.topic("certificate"), "lockbridge/city/#")
    beside = other.client().up().subscribe("lockbridge/city/#")
    live.publish(box.topic("state"), b"1")
    wait_for("it is heard", lambda: desk.of(box.topic("state")))
    said = served.desk("gateway", "revoke", "gw-17", "--json").ok().json
    assert not said["already"] and "systemctl reload mosquitto" in said["broker"]
    assert served.revoked() == {box.serial}
    served.reload()

    live.messages.clear()
    live.publish(box.topic("state"), b"2").publish(box.topic("presence"), b"online").publish(box.topic("event"), b"{}")
    other_state = other.topic("state")
    desk.publish(box.topic("document"), b"for you").publish("lockbridge/city/policy-x", b"for all")
    wait_for("the other hears", lambda: beside.of("lockbridge/city/policy-x"))
    beside.publish(other_state, b"3")
    wait_for("the other is heard", lambda: desk.of(other_state))
    # a round trip of the one cut off: what it said before has been worked off
    live.subscribe("lockbridge/city/#")
    beside.publish(other_state, b"4")
    wait_for("the other is heard again", lambda: len(desk.of(other_state)) == 2)
    assert live.messages == [] and desk.of(box.topic("state")) == [b"1"]
    assert not desk.of(box.topic("presence")) and not desk.of(box.topic("event"))

    assert box.client().connect() == "closed"
    assert other.client().connect() == "connected"
    listed = {g["id"]: g for g in served.desk("gateway", "list", "--json").json}
    assert listed["gw-17"]["revoked"] and "certificate" not in listed["gw-17"]
    again = served.desk("gateway", "revoke", "gw-17", "--json").ok().json
    assert again["already"] and again["broker"] == ""


def test_a_revoked_gateway_whose_broker_was_not_reloaded_gets_nothing_from_the_desk(served):
    box = served.enrolled("gw-17")
    client = box.client().up().subscribe(box.topic("certificate"))
    served.desk("gateway", "revoke", "gw-17").ok()
    with open(box.request_file, "rb") as f:
        client.publish(box.topic("request"), f.read())
    alarm, = wait_for("an alarm", lambda: served.alarms("certificate-refused"))
    assert "was revoked" in alarm["detail"] and client.messages == []


def test_two_revoked_within_a_second_are_both_kept_out(city):
    """A broker that is reloaded keeps the lists it had, and takes the newest to the second."""
    boxes = [city.enrolled(f"gw-{i}") for i in range(4)]
    for box in boxes:
        city.desk("gateway", "revoke", box.name).ok()
        city.reload()
        assert box.client().connect() == "closed"
    assert city.revoked() == {box.serial for box in boxes}
    assert city.enrolled("gw-9").client().connect() == "connected"


def test_a_new_box_takes_the_place_of_a_revoked_one(served):
    stolen = served.enrolled("gw-17")
    served.desk("gateway", "revoke", "gw-17").ok()
    served.reload()
    refused(stolen.add("--replace"), "revoked or replaced")
    fresh = served.box("gw-17", "fresh")
    refused(fresh.add(), "was revoked", "--replace")
    fresh.enrol("--replace")
    served.reload()
    assert stolen.client().connect() == "closed"
    client = fresh.client().up().subscribe(fresh.topic("certificate"))
    assert renew(client, fresh) == fresh.enrolment["certificate"]
    desk = served.desk_client().subscribe("lockbridge/gw/#")
    client.publish(fresh.topic("state"), b"x")
    wait_for("it is heard", lambda: desk.of(fresh.topic("state")))


def test_a_revoked_gateway_is_no_part_of_the_fleet(city):
    lock = wire.Key()
    for name in ("gw-1", "gw-2"):
        city.desk("gateway", "add", name).ok()
    city.desk("lock", "add", "lock-1", "--key", base64.b64encode(lock.public).decode(), "--gateway", "gw-1,gw-2").ok()
    city.desk("lock", "add", "lock-2", "--key", base64.b64encode(lock.public).decode(), "--gateway", "gw-1").ok()
    city.desk("staff", "add", "--person", "19121212-1212", "--phone", "070-174 06 05").ok()
    city.desk("gateway", "revoke", "gw-1").ok()
    locks = {entry["id"]: entry["gateways"] for entry in city.desk("lock", "list", "--json").json}
    assert locks == {"lock-1": ["gw-2"], "lock-2": []}
    said = city.desk("revoke", "--person", "19121212-1212", "--wait", "1", "--json").json
    assert said["gateways"]["missing"] == ["gw-2"] and said["gateways"]["total"] == 1
    refused(city.desk("unlock", "--person", "19121212-1212", "--lock", "lock-2"), "lock-2", "not revoked")


def test_an_expired_certificate_leaves_the_list(city):
    city.enrolled("gw-1")
    box = city.enrolled("gw-2")
    city.desk("gateway", "revoke", "gw-1").ok()
    city.desk("gateway", "revoke", "gw-2").ok()
    assert len(city.revoked()) == 2
    age(city, "gw-1", 92)
    assert city.desk("broker", "files", "--json").ok().json["changed"]
    assert city.revoked() == {box.serial}


# --- the broker's files --------------------------------------------------------------------------------


def test_files_are_written_only_when_they_change_and_readable_for_the_broker(city):
    folder = city.path("broker-files")
    names = ["acl", "ca.pem", "crl.pem", "desk-ca.pem", "server.key", "server.pem"]
    assert sorted(os.listdir(folder)) == names and mode(folder) == 0o755
    assert {n: mode(os.path.join(folder, n)) for n in names} == dict.fromkeys(names, 0o644) | {"server.key": 0o640}
    before = {n: os.stat(os.path.join(folder, n)).st_mtime_ns for n in names}
    assert not city.desk("broker", "files", "--json").ok().json["changed"]
    city.enrolled("gw-1")
    assert {n: os.stat(os.path.join(folder, n)).st_mtime_ns for n in names} == before


def test_the_list_lasts_as_long_as_the_authority(city):
    """A broker refuses everybody once it is past nextUpdate, and takes a new one only when it is reloaded."""
    with open(city.path("broker-files", "crl.pem"), "rb") as f:
        crl = x509.load_pem_x509_crl(f.read())
    assert crl.next_update == city.authority().not_valid_after
    first = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    city.enrolled("gw-1")
    city.desk("gateway", "revoke", "gw-1").ok()
    with open(city.path("broker-files", "crl.pem"), "rb") as f:
        crl = x509.load_pem_x509_crl(f.read())
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > first
    assert crl.last_update < datetime.datetime.utcnow() - datetime.timedelta(minutes=50)


def test_serve_puts_back_what_is_lost_or_out_of_date(city):
    city.enrolled("gw-1")
    city.desk("gateway", "revoke", "gw-1").ok()
    serial = city.revoked()
    with open(city.path("broker-files", "acl"), encoding="ascii") as f:
        rules = f.read()
    assert "user gw-1\ntopic deny #\n" in rules
    os.unlink(city.path("broker-files", "crl.pem"))
    with open(city.path("broker-files", "acl"), "a", encoding="ascii") as f:
        f.write("user gw-1\ntopic readwrite #\n")
    city.start_serve().wait_output("reload it")
    assert city.revoked() == serial
    with open(city.path("broker-files", "acl"), encoding="ascii") as f:
        assert f.read() == rules


def test_a_folder_that_cannot_be_written_is_an_alarm_and_the_revocation_stands(city):
    box = city.enrolled("gw-1")
    shutil.rmtree(city.path("broker-files"))
    with open(city.path("broker-files"), "w", encoding="ascii"):
        pass
    said = city.desk("gateway", "revoke", "gw-1", "--json").ok().json
    assert "not written" in said["broker"] and "broker-files" in said["broker"]
    assert city.alarms("broker-files") and city.desk("gateway", "list", "--json").json[0]["revoked"]
    os.unlink(city.path("broker-files"))
    os.mkdir(city.path("broker-files"))
    city.desk("broker", "files", "--host", "127.0.0.1").ok()
    assert city.revoked() == {box.serial}


def test_a_restored_registry_un_revokes_no_gateway(city):
    kept, lost = city.enrolled("gw-1"), city.enrolled("gw-2")
    shutil.copytree(city.path("desk"), city.path("backup"))
    later = city.enrolled("gw-3")  # the backup knows nothing of it
    for box in (lost, later):
        city.desk("gateway", "revoke", box.name).ok()
    city.reload()
    shutil.rmtree(city.path("desk"))
    shutil.copytree(city.path("backup"), city.path("desk"))
    city.start_serve()
    alarm, = wait_for("an alarm", lambda: city.alarms("gateway-revoked-before"))
    assert alarm["subject"] == "gw-2"
    assert city.revoked() == {lost.serial, later.serial}
    city.reload()
    assert kept.client().connect() == "connected"
    assert lost.client().connect() == "closed" and later.client().connect() == "closed"
    listed = {g["id"]: g["revoked"] for g in city.desk("gateway", "list", "--json").json}
    assert listed == {"gw-1": False, "gw-2": True}
    refused(lost.add("--replace"), "revoked or replaced")


def test_the_desk_shows_its_certificate_to_brokers_set_later_too(city):
    city.desk("config", "set", "--broker", f"localhost:{city.desk_port}", "--ca", city.path("desk", "ca.pem")).ok()
    city.desk("publish").ok()
    city.desk("config", "set", "--broker", "a.example", "--ca", city.path("desk", "ca.pem"), "--user", "x",
              "--broker", "b.example").ok()
    brokers = next(s["value"] for s in city.desk("config", "show", "--json").json if s["name"] == "brokers")
    assert "desk.pem" not in brokers


def test_nobody_but_the_desk_has_its_authority(city):
    """desk-ca.pem certifies one certificate, and its key is nowhere."""
    with open(city.path("broker-files", "desk-ca.pem"), "rb") as f:
        authority = x509.load_pem_x509_certificate(f.read())
    with open(city.path("desk", "desk.pem"), "rb") as f:
        own = x509.load_pem_x509_certificate(f.read())
    authority.public_key().verify(own.signature, own.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    assert name_of(own) == "desk" and mode(city.path("desk", "keys", "desk.key")) == 0o600
    public = authority.public_key().public_numbers()
    for name in os.listdir(city.path("desk", "keys")):
        with open(city.path("desk", "keys", name), "rb") as f:
            text = f.read()
        if b"PRIVATE" in text:
            key = serialization.load_pem_private_key(text, None)
            assert not hasattr(key.public_key(), "public_numbers") or key.public_key().public_numbers() != public
    box = city.enrolled("gw-1")
    client = box.client()
    client.port = city.desk_port
    assert client.connect() == "closed"


# --- about to end ---------------------------------------------------------------------------------------


def test_a_certificate_about_to_expire_is_an_alarm_once(served):
    served.enrolled("gw-1")
    served.enrolled("gw-2")
    served.enrolled("gw-3")
    served.desk("gateway", "revoke", "gw-3").ok()
    age(served, "gw-1", 75)
    age(served, "gw-2", 77)
    age(served, "gw-3", 80)
    for _ in range(2):
        alarm, = served.alarms("certificate-expiring")
        assert alarm["subject"] == "gw-2"
    age(served, "gw-2", 14)
    for _ in range(2):
        alarm, = served.alarms("certificate-expired")
        assert alarm["subject"] == "gw-2" and "enrol it anew" in alarm["detail"]
    assert "expired" in served.desk("gateway", "list").out
