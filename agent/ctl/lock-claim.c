// SPDX-License-Identifier: Apache-2.0
/*
 * lockbridgectl lock claim: a new lock is to obey this city. Everything is compared before anything
 * is changed, and what was changed is undone when the lock does not take the claim. What the lock
 * shows over the air is unsigned; the printed key makes its receipt a proof.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/door.h"

#define FIND_ROUNDS 6 /* scans */
#define FIND_S	    3u
#define LOOK_MS	    500u /* for the button */
#define WORDS_S	    15u

struct claiming {
	struct door *door;
	const struct door_options *options;
	struct door_document document;
	const char *lock;
	uint8_t key[PUBLIC_LEN];
	char shown[BASE64_CAP(PUBLIC_LEN)]; /* the key that the lock shows */
	char address[18];
	char root[KID_HEX];  /* that the claim names */
	char owner[KID_HEX]; /* "": nobody */
	bool ours, pressed;
	bool added; /* by us, to the configuration */
};

/* --- the paper ---------------------------------------------------------------------------------- */

static int check_document(struct claiming *c)
{
	const struct token *token = &c->document.token;
	struct door *door = c->door;

	hex_encode(SPAN(token->key.kid), c->root, sizeof(c->root));
	if (!span_equal(token->cose.kid, SPAN(token->key.kid)) ||
	    key_verify(&token->key, &token->cose) != 0)
		return door_wrong(door,
				  "%s is damaged: its signature does not hold.\n"
				  "Next: make it anew at the desk: lockbridge-desk lock claim "
				  "%s --out FILE.",
				  c->options->file, c->lock);
	if ((token->has & CLAIM_EXP) && token->exp <= (uint64_t)time(NULL))
		return door_wrong(door,
				  "%s is out of date.\nNext: make it anew at the desk: "
				  "lockbridge-desk lock claim %s --out FILE.",
				  c->options->file, c->lock);
	if (strcmp(c->root, door->root) != 0)
		return door_wrong(door,
				  "%s is by root %s, but %s obeys root %s: another city, or a root "
				  "that was replaced.\nNext: make it at the desk of this gateway's "
				  "city.",
				  c->options->file, c->root, door->gateway, door->root);
	return 0;
}

static int parse_key(struct claiming *c, const char *text)
{
	if (base64_decode(span_str(text), c->key, sizeof(c->key)) == PUBLIC_LEN)
		return 0;
	return door_wrong(c->door,
			  "\"%s\" is no key: 44 characters are printed on the lock, the "
			  "last is =.\nNothing was changed.",
			  text);
}

/* --- the air ------------------------------------------------------------------------------------ */

static bool is_wanted(const struct claiming *c, const json_t *row)
{
	if (strcmp(door_text(row, "id"), c->lock) != 0)
		return false;
	return !c->options->address || strcmp(door_text(row, "address"), c->options->address) == 0;
}

static void take(struct claiming *c, const json_t *row)
{
	snprintf(c->address, sizeof(c->address), "%s", door_text(row, "address"));
	snprintf(c->shown, sizeof(c->shown), "%s", door_text(row, "key"));
	snprintf(c->owner, sizeof(c->owner), "%s", door_text(row, "owner"));
	c->ours = door_yes(row, "ours");
	c->pressed = door_yes(row, "unowned") && door_yes(row, "attention");
}

/* How many call themselves so; one with the printed key counts alone. */
static size_t pick(struct claiming *c, const json_t *rows)
{
	const json_t *row;
	size_t i, n = 0;

	json_array_foreach(rows, i, row)
	{
		if (!is_wanted(c, row) || !json_object_get(row, "owner"))
			continue;
		take(c, row);
		n++;
		if (c->options->key && strcmp(c->shown, c->options->key) == 0)
			return 1;
	}
	return n;
}

static int find(struct claiming *c)
{
	size_t n = 0;

	door_say(c->door, "Looking for %s ...", c->lock);
	for (unsigned i = 0; i < FIND_ROUNDS && n == 0; i++) {
		json_t *rows = door_scan(c->door, FIND_S);

		if (!rows)
			return -EIO;
		n = pick(c, rows);
		json_decref(rows);
	}
	if (n == 1)
		return 0;
	if (n > 1)
		return door_wrong(c->door,
				  "%zu devices call themselves %s. Nothing was changed.\nNext: "
				  "lockbridgectl lock scan shows them; choose by --address, and be "
				  "suspicious.",
				  n, c->lock);
	return door_wrong(
		c->door,
		"%s%s%s is not heard here. Nothing was changed.\nNext: see that it has power "
		"and that no phone is connected to it; lockbridgectl lock scan shows what "
		"is heard.",
		c->lock, c->options->address ? " at " : "",
		c->options->address ? c->options->address : "");
}

/* --- the printed key ---------------------------------------------------------------------------- */

static int ask_key(struct claiming *c, char ret[static 64])
{
	fprintf(stderr,
		"%s shows the key  %s\nType the 44 characters printed on the lock, or y if they "
		"are "
		"these: ",
		c->lock, c->shown);
	if (!fgets(ret, 64, stdin))
		return door_wrong(c->door, "No key was given. Nothing was changed.");
	ret[strcspn(ret, "\r\n")] = 0;
	if (strcmp(ret, "y") == 0)
		strcpy(ret, c->shown);
	return 0;
}

static int compare_key(struct claiming *c)
{
	char typed[64] = "";
	int r = 0;

	if (c->options->key)
		snprintf(typed, sizeof(typed), "%s", c->options->key);
	else
		r = ask_key(c, typed);
	if (r == 0)
		r = parse_key(c, typed);
	if (r < 0)
		return r;
	if (strcmp(typed, c->shown) == 0)
		return 0;
	return door_wrong(
		c->door,
		"%s shows another key than the printed one. Nothing was changed.\n"
		"  printed  %s\n  shown    %s\n"
		"Next: read the label once more. If it stays so, this is not that lock: do "
		"not claim it, tell the service desk.",
		c->lock, typed, c->shown);
}

/* --- the button --------------------------------------------------------------------------------- */

static int look_at_button(struct claiming *c)
{
	json_t *rows = door_scan(c->door, 0);
	const json_t *row;
	size_t i;

	if (!rows)
		return -EIO;
	json_array_foreach(rows, i, row)
	{
		if (strcmp(door_text(row, "address"), c->address) == 0)
			c->pressed = door_yes(row, "unowned") && door_yes(row, "attention");
	}
	json_decref(rows);
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int await_button(struct claiming *c)
{
	uint64_t end = now_ms() + c->options->seconds * 1000ull, words = now_ms() + WORDS_S * 1000;

	if (!c->pressed)
		door_say(c->door, "Press the button of %s now (%u seconds) ...", c->lock,
			 c->options->seconds);
	while (!c->pressed) {
		int r = look_at_button(c);

		if (r < 0)
			return r;
		if (c->pressed)
			break;
		if (now_ms() >= end)
			return door_wrong(
				c->door,
				"The button of %s was not pressed in %u seconds. Nothing "
				"was changed.\nNext: do it again, and press the button when "
				"you are asked to.",
				c->lock, c->options->seconds);
		if (now_ms() >= words) {
			door_say(c->door, "Still waiting for the button, %llu seconds left ...",
				 (unsigned long long)(end - now_ms()) / 1000 + 1);
			words += WORDS_S * 1000;
		}
		door_sleep(c->door, LOOK_MS);
	}
	door_say(c->door, "The button was pressed.");
	return 0;
}

/* --- the claim ---------------------------------------------------------------------------------- */

static int configure(struct claiming *c)
{
	struct config_lock lock = {0};
	int r = door_configured(c->door, c->lock, c->key);

	if (r != 0)
		return r < 0 ? r : 0;
	snprintf(lock.id, sizeof(lock.id), "%s", c->lock);
	memcpy(lock.key, c->key, PUBLIC_LEN);
	if (c->options->address)
		snprintf(lock.address, sizeof(lock.address), "%s", c->options->address);
	r = door_add(c->door, &lock);
	c->added = r == 0;
	return r;
}

/* The lock did not take it, says who asks the lock, or nobody knows: words stay. */
static int undo(struct claiming *c, bool known)
{
	char words[DOOR_WORDS_CAP];
	struct door *door = c->door;

	memcpy(words, door->words, sizeof(words));
	door_go_on(door);
	if (!known)
		return door_wrong(
			door,
			"%.700s\nIt is not known whether %s took the claim; it stays in %s."
			"\nNext: do it again; it goes on from where it was.",
			words, c->lock, door->config);
	if (c->added && door_remove(door, c->lock) < 0)
		return door_wrong(door,
				  "%.600s\n%s could not be taken out of %s again: do it by hand.",
				  words, c->lock, door->config);
	return door_wrong(door, "%.900s\nNothing was changed.", words);
}

/* After no answer at all: whom does it obey now? 1: this city, 0: nobody or another, < 0: unknown. */
static int look_again(struct claiming *c)
{
	char words[DOOR_WORDS_CAP];
	json_t *rows;
	size_t n;

	memcpy(words, c->door->words, sizeof(words));
	door_go_on(c->door);
	rows = door_scan(c->door, FIND_S);
	n = rows ? pick(c, rows) : 0;
	json_decref(rows);
	memcpy(c->door->words, words, sizeof(words));
	return n == 1 ? c->ours : -EIO;
}

static const char *refusal(const char *reason)
{
	if (strcmp(reason, "try-later") == 0)
		return "more than a minute has passed since its button was pressed";
	if (strcmp(reason, "unknown-key") == 0)
		return "it is by a root that this gateway does not know";
	if (strcmp(reason, "timeout") == 0)
		return "it gave no answer";
	return reason;
}

static int hand_over(struct claiming *c)
{
	json_t *said;
	int known;
	char reason[32];

	door_say(c->door, "Claiming ...");
	said = door_hand_over(c->door, &c->document);
	if (!said) {
		known = look_again(c);
		return known > 0 ? 0 : undo(c, known == 0);
	}
	snprintf(c->owner, sizeof(c->owner), "%s", door_text(said, "owner"));
	snprintf(reason, sizeof(reason), "%s", door_text(said, "reason"));
	c->ours = door_yes(said, "ours") || strcmp(door_text(said, "outcome"), "claimed") == 0;
	known = json_object_get(said, "owner") || strcmp(reason, "timeout") != 0;
	json_decref(said);
	if (c->ours)
		return 0;
	door_wrong(c->door, "%s did not take the claim: %s.", c->lock, refusal(reason));
	return undo(c, known);
}

/* --- the whole ---------------------------------------------------------------------------------- */

static int done(const struct claiming *c, const char *outcome)
{
	const char *owner = *c->owner ? c->owner : c->root;
	json_t *answer;

	if (c->door->ctl->json) {
		answer = json_pack("{s:s,s:s,s:s,s:s}", "lock", c->lock, "outcome", outcome,
				   "owner", owner, "key", c->shown);
		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(answer);
		return CTL_FINE;
	}
	if (strcmp(outcome, "claimed") != 0) {
		printf("%s obeys this city already, root %s%s.\n", c->lock, owner,
		       c->added ? "; it is in the configuration now" : "");
		return CTL_FINE;
	}
	printf("%s now obeys root %s.\n"
	       "Before you leave, compare:\n"
	       "  owner  %s  with the root's kid at the desk\n"
	       "  key    %s  with the one printed on the lock\n"
	       "If one of them is wrong, press the lock's button again within 10 minutes: that "
	       "undoes the claim.\n",
	       c->lock, owner, owner, c->shown);
	return CTL_FINE;
}

static int claim(struct claiming *c)
{
	int r = door_may_write(c->door);

	if (r == 0)
		r = door_read(c->door, c->options->file, TOKEN_CLAIM, &c->document);
	c->lock = c->document.lock;
	if (r == 0)
		r = check_document(c);
	if (r == 0 && c->options->key)
		r = parse_key(c, c->options->key);
	if (r == 0)
		r = find(c);
	if (r == 0)
		r = compare_key(c);
	if (r == 0 && *c->owner && !c->ours)
		r = door_wrong(c->door,
			       "%s obeys another city: root %s. Nothing was changed.\nNext: its "
			       "present owner must release it (lockbridgectl lock release, at a "
			       "gateway of theirs).",
			       c->lock, c->owner);
	if (r == 0 && door_configured(c->door, c->lock, c->key) < 0)
		r = -EEXIST;
	return r;
}

int door_claim(struct door *door, const struct door_options *options)
{
	struct claiming c = {.door = door, .options = options};
	int r;

	if (!options->key && (!isatty(STDIN_FILENO) || door->ctl->json)) {
		fprintf(stderr, "--key is needed: the 44 characters printed on the lock.\n");
		return CTL_USAGE;
	}
	r = claim(&c);
	if (r == 0 && c.ours) {
		r = configure(&c);
		return r < 0 ? door_fail(door) : done(&c, "present");
	}
	if (r == 0)
		r = await_button(&c);
	if (r == 0)
		r = configure(&c);
	if (r == 0)
		r = hand_over(&c);
	return r < 0 ? door_fail(door) : done(&c, "claimed");
}
