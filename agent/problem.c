// SPDX-License-Identifier: Apache-2.0
/* See problem.h. The table in docs/protocol.md is compared with this one by a test. */
#include "problem.h"

#include <string.h>

static const struct problem_text texts[] = {
	/* the city's documents */
	{"no-keys",
	 "The gateway has no keys document, so it trusts nothing that the city signs. No door "
	 "opens "
	 "through it.",
	 "Run the desk's serve, which publishes the keys. If it does already, compare the root key "
	 "in "
	 "the gateway's root_key_file with the desk's."},
	{"keys-expired",
	 "The keys document is past its date. Doors still open by it, but the city has signed no "
	 "new "
	 "one for too long.",
	 "See that the desk's serve runs: it signs the keys anew every 30 days."},
	{"no-policy",
	 "The gateway has no policy document and goes by the built-in one: a PIN is needed, any "
	 "app, "
	 "12 hours at the door.",
	 "Set a policy at the desk (policy set), if another one is wanted."},
	{"policy-expired", "The policy document is past its date. It stays in force.",
	 "See that the desk's serve runs, or set the policy anew."},
	{"no-list",
	 "The gateway has no revocation list. Nothing opens through it; locking works. Doors open "
	 "for "
	 "phones at the door as far as the lock has a list.",
	 "See that the desk's serve runs and that the broker lets the gateway read the city's "
	 "topics. "
	 "The list comes by itself then."},
	{"list-expired",
	 "The revocation list is past its date. It stays in force, but a revocation made since may "
	 "be "
	 "missing in it.",
	 "See that the desk's serve runs and that the gateway is online. For an urgent revocation, "
	 "check with the desk's exposed command which doors lack it."},
	{"document-pending",
	 "A document is signed by a key that the gateway does not know yet. It is kept, and tried "
	 "again when keys come.",
	 "Publish the keys document. If the key is not one of the city's, somebody else writes to "
	 "the "
	 "city's topics: look into the broker's access rules."},
	/* the box */
	{"store-damaged",
	 "The gateway's memory on disk was damaged. It was put aside, and nothing opens through "
	 "this "
	 "gateway until the city has sent its documents again. Phones at the door still open.",
	 "Wait some minutes; if it stays, see that the desk's serve runs. Keep the file "
	 "store.db.damaged "
	 "for whoever looks into it. If this comes again, replace the box's disk or card."},
	{"store-full",
	 "The disk is full. Relayed openings and lockings are refused, since none may happen "
	 "without being written down first. New revocations count all the same, and go to disk "
	 "when "
	 "there is room. Phones at the door still open.",
	 "Make room on the box's disk, or lower event_bytes_max."},
	{"store-failed",
	 "The disk refuses to be read or written. Relayed openings and lockings are refused; new "
	 "revocations still reach the locks. Phones at the door still open.",
	 "The detail and the box's journal have the disk's error. If it speaks of permission, "
	 "give the folder /var/lib/lockbridge and all in it to the user lockbridge. Else the disk "
	 "or "
	 "card most often has to be replaced."},
	{"outbox-large",
	 "Many events wait to be sent to the city. Nothing is lost yet, but the city sees late "
	 "what "
	 "happened.",
	 "Look at the connection to the broker: it may be slow, or refuse the gateway's events."},
	{"certificate-expiring",
	 "The certificate that the gateway shows to the broker ends soon, and no new one has "
	 "come. When it has ended, relayed openings cannot come any more. Phones at the door "
	 "still open.",
	 "See that the desk's serve runs: it answers the gateway's request within the day. If "
	 "the gateway was revoked on purpose, there is nothing to do. If it has ended before "
	 "that, enrol the box anew."},
	{"certificate-expired",
	 "The certificate that the gateway shows to the broker has ended. Relayed openings "
	 "cannot come. Phones at the door still open.",
	 "Enrol the box anew: lockbridgectl request at the box, gateway add at the desk, "
	 "lockbridgectl enrol at the box."},
	{"certificate-refused",
	 "The city sent a new certificate for the gateway, and it was refused: the detail "
	 "says why. The gateway goes on with the one that it has, and asks again every day.",
	 "Compare the gateway's id and key at the desk with the box's. If the desk sent no "
	 "such certificate, somebody else writes to the gateway's topics: look into the "
	 "broker's access rules."},
	{"certificate-unusable",
	 "The gateway's certificate or its key cannot be read, or the two do not fit. It "
	 "cannot connect to the broker once the present connection ends. Phones at the door "
	 "still open.",
	 "Look at the file that the detail names. If in doubt, enrol the box anew."},
	{"certificate-not-writable",
	 "The gateway has to write a new certificate, and cannot. It does not ask for one "
	 "until it can.",
	 "Make room on the disk, or let the setting certificate name a file in a folder that "
	 "the service may write, as in /var/lib/lockbridge."},
	{"clock-not-synchronised",
	 "The box's clock has not been set by the network since it started. The gateway reckons "
	 "with "
	 "the city's last word, which can only lag. Doors still open.",
	 "Let the box reach a time server (NTP). Wait some minutes after a start."},
	{"clock-stepped",
	 "The box's clock jumped by more than five minutes. The gateway does not believe it until "
	 "the "
	 "network has set it again.",
	 "Ask who set the clock. Restart the time service (systemd-timesyncd or chrony)."},
	{"clock-ahead",
	 "The box's clock is more than three days ahead of all that the city has signed. The "
	 "gateway "
	 "does not believe it.",
	 "Compare the box's date with yours. If it is right, see that the desk's serve signs: all "
	 "its "
	 "documents are old."},
	{"clock-behind",
	 "The box's clock is behind a time that the city has signed already. The gateway goes by "
	 "the "
	 "city's.",
	 "Compare the box's date with yours, and look at the time server that it uses."},
	/* the radio */
	{"adapter-missing", "The box has no Bluetooth radio, or not the one that is configured.",
	 "Plug the radio in, or correct the setting adapter. At the box, bluetoothctl list shows "
	 "what "
	 "there is."},
	{"adapter-off", "The Bluetooth radio is switched off.",
	 "Switch it on: bluetoothctl power on, or rfkill unblock bluetooth."},
	{"radio-silent",
	 "The Bluetooth radio hears nothing at all. The gateway has restarted it and goes on "
	 "trying.",
	 "Unplug the box for ten seconds. If that does not help, replace the radio."},
	/* the broker: seen at the box only */
	{"broker-unreachable",
	 "The gateway reaches no broker. Relayed openings cannot come. Phones at the door still "
	 "open.",
	 "Look at the box's network connection. The detail says what the broker or the network "
	 "answered."},
	/* one lock */
	{"lock-unreachable",
	 "The lock has not been heard for a while. Relayed openings of this door fail; phones at "
	 "the "
	 "door work if the lock has power.",
	 "Check the lock's batteries, and whether the gateway was moved or screened. Then run "
	 "lockbridgectl test LOCK at the box."},
	{"lock-silent", "The lock can be connected to, but gives no answer.",
	 "Take the lock's batteries out and put them back. If it stays silent, replace the lock."},
	{"lock-rubbish",
	 "The lock answers with something that no lock should say, or that is not "
	 "signed with its key.",
	 "Compare the key printed on the lock with the configuration. If they agree, the lock is "
	 "broken or not genuine: replace it."},
	{"lock-stranger",
	 "At this lock's address is another lock: the key that it shows is not the configured one.",
	 "Compare the key printed on the lock with the configuration, and correct it if the lock "
	 "was "
	 "replaced. If it was not, treat it as an attack."},
	{"lock-unowned", "The lock obeys nobody: it was never claimed, or was released.",
	 "Claim it: at the door, with the button, by an installer."},
	{"lock-foreign-owner", "The lock obeys another city's root key.",
	 "Its present owner must release it. If nobody knows of one, treat it as an attack."},
	{"lock-refuses-document",
	 "The lock refuses a document of the city. It may go on with an older revocation list.",
	 "The detail names the reason: look at the lock's owner and its clock."},
	{"lock-too-small",
	 "The revocation list is larger than this lock can hold. The lock goes on with the list "
	 "that "
	 "it has, so a phone that was revoked since may still open at this door until its shift "
	 "ends.",
	 "Make a smaller list at the desk, or change the lock for one with more memory. Until then "
	 "raise the lock's cut-off (change-lock) when a phone is lost."},
	{"lock-battery-low",
	 "The lock's battery is nearly empty. When it is, the door opens only by hand from inside, "
	 "or "
	 "by the mechanical key.",
	 "Change the batteries soon."},
	{"lock-refuses-reader",
	 "The lock does not let the gateway read its log, so openings at the door are not "
	 "reported.",
	 "See that the desk's serve runs: it issues the gateway's read authorization every few "
	 "days."},
	{"lock-log-gap",
	 "Receipts are missing between those that the lock kept and those that were fetched: "
	 "something "
	 "moved the lock that cannot be told any more.",
	 "Nothing to repair. See that the gateway reaches the lock often enough, and look at the "
	 "desk's log for this door."},
	{"lock-jammed", "The bolt is jammed.",
	 "Send somebody to look at the door: it may not close, or something blocks the bolt."},
	{"lock-behind",
	 "The lock does not hold the newest documents yet. A phone that was revoked since may "
	 "still "
	 "open at this door until its shift ends.",
	 "It is brought up to date at the next contact. If this stays, treat it as "
	 "lock-unreachable."},
	{"reader-missing",
	 "The gateway has no authorization to read this lock's log, or it is about to expire. "
	 "Openings "
	 "at the door are reported late.",
	 "See that the desk's serve runs: it issues it."},
};

const struct problem_text *problem_text_at(size_t i)
{
	return i < sizeof(texts) / sizeof(texts[0]) ? &texts[i] : NULL;
}

const struct problem_text *problem_text(const char *code)
{
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(texts[i].code, code) == 0)
			return &texts[i];
	}
	return NULL;
}
