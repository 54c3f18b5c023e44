// SPDX-License-Identifier: Apache-2.0
/*
 * A certificate's renewal under power cuts: FILE, FILE.old, FILE.new (see certificate.h).
 *
 *	power-certificate FROM COUNT
 *
 * As power.c. FILE is always whole, and one of those that it may be; as long as a trial is on, the
 * other one is there, too; what ended does not come back.
 */
#include "power-cut.h"

#include <inttypes.h>

#include "certificate.h"
#include "link/file.h"

#define TEXTS 6 /* certificates to choose from */
#define NOW   1800000000U
#define MODE  0644

struct state {
	enum certificate_trial trial;
	unsigned in_use, other; /* other: only on trial */
};

static struct run {
	struct state sure, may[1]; /* may: what it may be besides, after a cut */
	unsigned nmay;
	struct chance chance;
	char root[64], dir[96], key[128];
	unsigned folders;
	struct certificate_files files;
	char *texts[TEXTS];
} run;

static struct {
	uint64_t seeds, cuts, steps, opened, cut_open, violations;
} sum;

static void violation(uint64_t seed, const char *what, const char *detail)
{
	printf("VIOLATION seed %" PRIu64 ": %s: %s\n", seed, what, detail);
	sum.violations++;
}

/* --- steps --- */

/* What a call of the certificate's makes of a state; false: there is nothing to do then. */
static bool after(const struct state *is, unsigned call, unsigned text, struct state *ret)
{
	*ret = *is;
	switch (call) {
	case 0: /* install: what the broker took last is kept, whatever else was tried since */
		ret->trial = CERTIFICATE_NEW_IN_USE;
		ret->in_use = text;
		if (is->trial != CERTIFICATE_OLD_IN_USE)
			ret->other = is->trial == CERTIFICATE_SETTLED ? is->in_use : is->other;
		else
			ret->other = is->in_use;
		return text != is->in_use && text != ret->other;
	case 1: /* swap */
		ret->trial = is->trial == CERTIFICATE_NEW_IN_USE ? CERTIFICATE_OLD_IN_USE
								 : CERTIFICATE_NEW_IN_USE;
		ret->in_use = is->other;
		ret->other = is->in_use;
		return is->trial != CERTIFICATE_SETTLED;
	default: /* settle */
		ret->trial = CERTIFICATE_SETTLED;
		return true;
	}
}

static int call_it(unsigned call, unsigned text)
{
	switch (call) {
	case 0:
		return certificate_install(&run.files, span_str(run.texts[text]));
	case 1:
		return certificate_swap(&run.files, NOW);
	default:
		return certificate_settle(&run.files);
	}
}

static bool live(uint64_t seed, unsigned n)
{
	while (n-- > 0 && !disk.dead) {
		unsigned call = chance_of(&run.chance, 3), text = chance_of(&run.chance, TEXTS);
		struct state next;
		int r;

		if (!after(&run.sure, call, text, &next))
			continue;
		r = call_it(call, text);
		sum.steps++;
		if (r == 0) {
			run.nmay = 0;
			run.sure = next;
		} else if (disk.dead) {
			run.may[run.nmay++] = next;
		} else {
			violation(seed, "a step failed", strerror(r < 0 ? -r : 0));
			return false;
		}
	}
	return true;
}

/* --- what is there --- */

static bool file_is(const char *tail, unsigned text)
{
	char path[CERTIFICATE_PATH_MAX + 8], bytes[X509_PEM_MAX];
	size_t len;

	snprintf(path, sizeof(path), "%s%s", run.files.path, tail);
	return file_read(path, bytes, sizeof(bytes), &len) == 0 &&
	       span_equal(span_of(bytes, len), span_str(run.texts[text]));
}

static bool is(enum certificate_trial trial, const struct state *state)
{
	if (trial != state->trial || !file_is("", state->in_use))
		return false;
	if (trial == CERTIFICATE_SETTLED)
		return true;
	return file_is(trial == CERTIFICATE_NEW_IN_USE ? ".old" : ".new", state->other);
}

/* false: a violation. */
static bool look(uint64_t seed)
{
	enum certificate_trial trial;
	struct x509_facts facts;
	int r;

	r = certificate_trial(&run.files, &trial);
	if (r < 0 && disk.dead) {
		sum.cut_open++;
		return true;
	}
	if (r == 0)
		r = certificate_read(&run.files, &facts);
	if (r != 0) {
		violation(seed, "cannot be used", strerror(r < 0 ? -r : 0));
		return false;
	}
	sum.opened++;
	for (unsigned i = 0; i < run.nmay && !is(trial, &run.sure); i++)
		if (is(trial, &run.may[i]))
			run.sure = run.may[i];
	run.nmay = 0;
	if (is(trial, &run.sure))
		return true;
	violation(seed, "lost or half",
		  trial == CERTIFICATE_SETTLED	    ? "settled, with another in use"
		  : trial == CERTIFICATE_NEW_IN_USE ? "on trial, the new one in use"
						    : "on trial, the old one in use");
	return false;
}

/* --- lives --- */

static void folder(char ret[static 96])
{
	snprintf(ret, 96, "%s/%u", run.root, run.folders++);
	if (mkdir(ret, 0700) < 0)
		disk_die(ret);
}

static void name_files(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/gw.pem", run.dir);
	certificate_files_set(&run.files, path, run.key, "/nonexistent");
}

static void pull(void)
{
	char to[96];

	disk.dead = true;
	folder(to);
	disk_cut(&run.chance, to);
	disk_remove(run.dir);
	memcpy(run.dir, to, sizeof(to));
	name_files();
	sum.cuts++;
}

static void one(uint64_t seed)
{
	struct chance c = {seed};
	char path[128];
	unsigned cuts;
	bool well = true;

	run.chance = (struct chance){chance_next(&c)};
	disk.chance = (struct chance){chance_next(&c)};
	run.sure = (struct state){CERTIFICATE_SETTLED, 0, 0};
	run.nmay = 0;
	folder(run.dir);
	disk_start(run.dir);
	disk.cut_at = 0;
	snprintf(path, sizeof(path), "%s/gw.pem", run.dir);
	if (file_write(path, span_str(run.texts[0]), MODE) < 0)
		disk_die(path);
	name_files();
	cuts = 2 + chance_of(&run.chance, 7);
	for (unsigned i = 0; i <= cuts && well; i++) {
		disk.cut_at = i == cuts || chance_percent(&run.chance, 20)
				      ? 0
				      : disk.calls + 1 + chance_of(&run.chance, 60);
		well = look(seed);
		if (well)
			well = live(seed, disk.cut_at ? 40 : chance_of(&run.chance, 10));
		if (i < cuts)
			pull();
	}
	disk_remove(run.dir);
}

/* --- */

/* One key, and certificates for it that differ. false: OpenSSL failed. */
static bool make_texts(void)
{
	cleanup(x509_wipe) char *ca_key = NULL, *ca = NULL, *key = NULL, *request = NULL;
	const struct x509_term term = {NOW - 86400, NOW + 86400};

	if (x509_authority_create("test", &term, &ca_key, &ca) < 0 || x509_key_create(&key) < 0 ||
	    x509_request_create(span_str(key), "gw-17", &request) < 0)
		return false;
	for (unsigned i = 0; i < TEXTS; i++) {
		const struct x509_authority by = {span_str(ca_key), span_str(ca)};

		if (x509_issue(&by, span_str(request), X509_CLIENT, NULL, &term, &run.texts[i]) < 0)
			return false;
	}
	snprintf(run.key, sizeof(run.key), "%s/key", run.root);
	return file_write(run.key, span_str(key), 0600) == 0;
}

int main(int argc, char **argv)
{
	const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	uint64_t from, count;

	if (argc != 3) {
		fprintf(stderr, "usage: power-certificate FROM COUNT\n");
		return 2;
	}
	from = strtoull(argv[1], NULL, 10);
	count = strtoull(argv[2], NULL, 10);
	snprintf(run.root, sizeof(run.root), "%s/lockbridge-power-XXXXXX", tmp);
	if (!mkdtemp(run.root) || !make_texts())
		disk_die(run.root);
	for (uint64_t seed = from; seed < from + count; seed++, sum.seeds++)
		one(seed);
	disk_forget();
	disk_remove(run.root);
	for (unsigned i = 0; i < TEXTS; i++)
		x509_wipe(&run.texts[i]);
	printf("{\"seeds\": %" PRIu64 ", \"cuts\": %" PRIu64 ", \"steps\": %" PRIu64
	       ", \"calls\": %" PRIu64 ", \"syncs\": %" PRIu64 ", \"opened\": %" PRIu64
	       ", \"cut while opening\": %" PRIu64 "}\n",
	       sum.seeds, sum.cuts, sum.steps, disk.calls, disk.syncs, sum.opened, sum.cut_open);
	return sum.violations > 0;
}
