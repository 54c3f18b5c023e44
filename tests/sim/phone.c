// SPDX-License-Identifier: Apache-2.0
/*
 * phone-sim: a phone at the door. It finds the lock's advert, presents an authorization, proves
 * that it holds the key in it, and prints what the lock answered as one JSON object.
 *
 *   phone-sim keygen FILE.pem              makes a key (0600), prints the public half as PEM
 *   phone-sim open --key FILE.pem --authorization FILE [--adapter hciN] [--address AA:BB:..]
 *                  [--timeout S] [--fault FAULT]
 *   phone-sim info [--adapter hciN] [--address ..] [--timeout S]
 *
 * FAULT: none, wrong-lock (presents it to any lock), no-presentation, stale, other-key, other-cti.
 * Exit status: 0 done, 1 refused or failed, 2 usage, 3 no such lock in range, 4 no answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "core/frame.h"
#include "core/pem.h"
#include "core/result.h"
#include "sim/phone-bluez.h"

#define TRIES_MAX 16

struct phone {
	struct phone_radio radio;
	struct signer signer;
	uint8_t authorization[TOKEN_SMALL_MAX];
	size_t authorization_len;
	struct token token;
	const char *address, *fault;
	struct info info;
	char tried[TRIES_MAX][96];
	size_t ntried;
};

static int read_file(const char *path, void *ret, size_t cap)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return -errno;
	n = fread(ret, 1, cap, f);
	fclose(f);
	return n == cap ? -EFBIG : (int)n;
}

/* Raw COSE, or its base64url as the city's app would hand it over. What is neither is presented as it
 * is: refusing it is the lock's business. */
static int read_authorization(struct phone *p, const char *path)
{
	uint8_t raw[2 * TOKEN_SMALL_MAX];
	int text, n = read_file(path, raw, sizeof(raw));

	if (n <= 0)
		return n < 0 ? n : -EINVAL;
	for (text = n; text > 0 && raw[text - 1] == '\n';)
		text--;
	text = base64url_decode(span_of(raw, (size_t)text), p->authorization,
				sizeof(p->authorization));
	if (text > 0) {
		n = text;
	} else {
		if (n > (int)sizeof(p->authorization))
			return -EMSGSIZE;
		memcpy(p->authorization, raw, (size_t)n);
	}
	p->authorization_len = (size_t)n;
	if (token_parse(span_of(p->authorization, (size_t)n), &p->token) != 0)
		memset(&p->token, 0, sizeof(p->token));
	return 0;
}

static int keygen(const char *path)
{
	struct signer signer;
	char text[PEM_PRIVATE_CAP];
	int n, fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	signer_generate(&signer);
	n = pem_encode_private(&signer, text);
	if (fd < 0 || write(fd, text, (size_t)n) != n) {
		perror(path);
		return 1;
	}
	close(fd);
	pem_encode_public(signer.pub, text);
	fputs(text, stdout);
	return 0;
}

static int send_document(struct phone *p, struct span document)
{
	uint8_t frame[FRAME_MAX];
	struct frame_cutter c;
	size_t n;
	int r = 0;

	frame_cut(&c, document);
	while (r >= 0 && (n = frame_next(&c, FRAME_MAX, frame)) > 0)
		r = phone_write(&p->radio, span_of(frame, n));
	return r;
}

/* A whole answer into buf: FRAME_COMPLETE or FRAME_SHORT, or -errno. */
static int await_answer(struct phone *p, struct frame_joiner *joiner, unsigned *ret_code)
{
	uint8_t frame[FRAME_MAX + 2];

	for (;;) {
		int n = phone_hear(&p->radio, frame, sizeof(frame));
		enum frame_event e;

		if (n < 0)
			return n;
		e = frame_take(joiner, span_of(frame, (size_t)n), ret_code);
		if (e == FRAME_COMPLETE || e == FRAME_SHORT)
			return (int)e;
	}
}

/* Presentation: aud, the connection's nonce, the authorization's cti, signed by the key in its cnf.
 */
static int send_presentation(struct phone *p)
{
	uint8_t bytes[TOKEN_SMALL_MAX], other[CTI_LEN] = {0}, stale[CHALLENGE_LEN] = {0};
	struct signer signer = p->signer;
	struct token t = {
		.kind = TOKEN_PRESENTATION,
		.has = CLAIM_AUD | CLAIM_CNONCE | CLAIM_CTI,
		.aud = p->token.aud,
		.cnonce = SPAN(p->info.nonce),
		.cti = p->token.cti,
	};
	int n;

	if (strcmp(p->fault, "other-key") == 0) {
		signer_generate(&signer);
	} else if (strcmp(p->fault, "other-cti") == 0) {
		t.cti = SPAN(other);
	} else if (strcmp(p->fault, "stale") == 0) {
		t.cnonce = SPAN(stale);
	}
	n = token_sign(&t, &signer, bytes, sizeof(bytes));
	return n < 0 ? n : send_document(p, span_of(bytes, (size_t)n));
}

static int print_short(const struct phone *p, unsigned code)
{
	static const char *const words[FRAME_CODES_] = {
		"go-on",      "frame-gap",     "too-large", "malformed", "unknown-key",
		"wrong-role", "bad-signature", "not-owned", "try-later", "not-a-reader",
	};

	printf("{\"lock\":\"%s\",\"outcome\":\"refused\",\"reason\":\"%s\",\"short\":%u}\n",
	       p->info.id, code < FRAME_CODES_ ? words[code] : "unknown", code);
	return 1;
}

static int print_receipt(const struct phone *p, struct span document)
{
	struct result result;
	struct token token;
	json_t *out;
	char *text;

	if (token_parse(document, &token) != 0 || token.kind != TOKEN_RECEIPT ||
	    cose_verify(&token.cose, p->info.key) != 0 ||
	    result_parse(token.result, &result) != 0) {
		puts("{\"outcome\":\"unknown\",\"reason\":\"lock-error\",\"detail\":\"answer is no "
		     "receipt of this lock\"}");
		return 4;
	}
	out = json_pack("{s:s, s:s, s:s, s:s, s:I, s:b}", "lock", p->info.id, "outcome",
			outcome_word(result.outcome), "reason", reason_word(result.reason), "bolt",
			bolt_word(result.bolt), "n", (json_int_t)(result.has_n ? result.n : 0),
			"verified", 1);
	text = json_dumps(out, JSON_COMPACT);
	puts(text);
	free(text);
	json_decref(out);
	return result.outcome == OUTCOME_DONE ? 0 : 1;
}

static int present(struct phone *p)
{
	uint8_t buf[TOKEN_SMALL_MAX];
	struct frame_joiner joiner;
	unsigned code = 0;
	int r;

	frame_joiner_init(&joiner, buf, sizeof(buf));
	r = send_document(p, span_of(p->authorization, p->authorization_len));
	if (r >= 0)
		r = await_answer(p, &joiner, &code);
	if (r == FRAME_SHORT && code == FRAME_GO_ON) {
		if (strcmp(p->fault, "no-presentation") == 0) {
			puts("{\"outcome\":\"refused\",\"reason\":\"presentation-missing\"}");
			return 1;
		}
		r = send_presentation(p);
		if (r >= 0)
			r = await_answer(p, &joiner, &code);
	}
	if (r == FRAME_SHORT)
		return print_short(p, code);
	if (r == FRAME_COMPLETE)
		return print_receipt(p, span_of(buf, joiner.len));
	printf("{\"outcome\":\"unknown\",\"reason\":\"timeout\",\"detail\":\"%s\"}\n",
	       strerror(-r));
	return 4;
}

/* Connects to locks in range, nearest first, until one answers to the wanted id. 0, or an exit
 * status. */
static int find_lock(struct phone *p, struct span id)
{
	uint8_t value[INFO_MAX];
	int r;

	while (p->ntried < TRIES_MAX) {
		if (phone_find(&p->radio, p->address, p->tried, p->ntried) < 0)
			break;
		if (!p->address) /* somebody else may have the lock's attention: a known one is tried again */
			memcpy(p->tried[p->ntried++], p->radio.device, sizeof(p->tried[0]));
		r = phone_connect(&p->radio);
		if (r >= 0)
			r = phone_read(&p->radio, 2, value, sizeof(value));
		if (r >= 0 && info_parse(span_of(value, (size_t)r), &p->info) == 0 &&
		    (!id.len || span_is(id, p->info.id) || strcmp(p->fault, "wrong-lock") == 0))
			return 0;
		phone_disconnect(&p->radio);
		p->radio.device[0] = '\0';
	}
	puts("{\"outcome\":\"failed\",\"reason\":\"unreachable\"}");
	return 3;
}

static int print_info(const struct phone *p)
{
	char key[BASE64_CAP(PUBLIC_LEN)], owner[HEX_CAP(DIGEST_LEN)],
		challenge[HEX_CAP(CHALLENGE_LEN)];

	base64_encode(SPAN(p->info.key), key, sizeof(key));
	hex_encode(SPAN(p->info.owner), owner, sizeof(owner));
	hex_encode(SPAN(p->info.challenge), challenge, sizeof(challenge));
	printf("{\"id\":\"%s\",\"key\":\"%s\",\"owner\":\"%s\",\"max\":%llu,\"challenge\":\"%s\"}"
	       "\n",
	       p->info.id, key, p->info.owned ? owner : "", (unsigned long long)p->info.max,
	       challenge);
	return 0;
}

static int usage(void)
{
	fputs("usage: phone-sim keygen FILE.pem\n"
	      "       phone-sim open --key FILE.pem --authorization FILE [--adapter hciN]\n"
	      "                 [--address AA:BB:CC:DD:EE:FF] [--timeout S]\n"
	      "                 [--fault none|wrong-lock|no-presentation|stale|other-key|...]\n"
	      "       phone-sim info [--adapter hciN] [--address ..] [--timeout S]\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"key", required_argument, NULL, 'k'},
		{"authorization", required_argument, NULL, 'a'},
		{"adapter", required_argument, NULL, 'h'},
		{"address", required_argument, NULL, 'd'},
		{"timeout", required_argument, NULL, 't'},
		{"fault", required_argument, NULL, 'f'},
		{0},
	};
	static struct phone p = {.fault = "none"};
	const char *adapter = "hci0";
	unsigned timeout = 30;
	bool has_key = false;
	char pem[512];
	int c, r = 0;

	if (argc < 2 || crypto_init() < 0)
		return usage();
	if (strcmp(argv[1], "keygen") == 0)
		return argc == 3 ? keygen(argv[2]) : usage();
	while ((c = getopt_long(argc - 1, argv + 1, "", options, NULL)) >= 0 && r >= 0) {
		if (c == 'k') {
			r = read_file(optarg, pem, sizeof(pem));
			if (r >= 0)
				r = pem_parse_private(span_of(pem, (size_t)r), &p.signer);
			has_key = r >= 0;
		} else if (c == 'a')
			r = read_authorization(&p, optarg);
		else if (c == 'h')
			adapter = optarg;
		else if (c == 'd')
			p.address = optarg;
		else if (c == 't')
			timeout = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'f')
			p.fault = optarg;
		else
			return usage();
		if (r < 0)
			fprintf(stderr, "phone-sim: %s: %s\n", optarg, strerror(-r));
	}
	if (r < 0)
		return 2;
	if (strcmp(argv[1], "info") != 0 &&
	    (strcmp(argv[1], "open") != 0 || !has_key || !p.authorization_len))
		return usage();
	r = phone_open(&p.radio, adapter, timeout);
	if (r < 0) {
		fprintf(stderr, "phone-sim: %s: %s\n", adapter, strerror(-r));
		return 3;
	}
	r = find_lock(&p, p.token.aud);
	if (r == 0)
		r = strcmp(argv[1], "info") == 0 ? print_info(&p) : present(&p);
	phone_disconnect(&p.radio);
	phone_close(&p.radio);
	signer_wipe(&p.signer);
	return r;
}
