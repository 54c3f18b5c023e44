// SPDX-License-Identifier: Apache-2.0
/*
 * The desk's registry under power cuts, with two connections as `serve` and a command have.
 *
 *	power-desk FROM COUNT
 *
 * As power.c: settings, the log of acts and alarms, alone and several in one transaction. What was committed
 * is there, what was not is not, and the registry opens.
 */
#include "power-cut.h"

#include <inttypes.h>
#include <sqlite3.h>

#include "core/crypto.h"
#include "desk/registry.h"

#define SETTINGS 6

struct model {
	uint32_t settings[SETTINGS]; /* 0: none */
	uint32_t acts, alarms;	     /* so many, numbered from 1 */
};

static struct run {
	struct model sure, undecided;
	bool made;
	uint32_t version;
	struct chance chance;
	char root[64], dir[96], error[600];
	unsigned folders;
	struct db *db[2];
} run;

static struct {
	uint64_t seeds, cuts, steps, opened, cut_open, violations;
} sum;

static void violation(uint64_t seed, const char *what, const char *detail)
{
	printf("VIOLATION seed %" PRIu64 ": %s%s%s\n", seed, what, detail[0] ? ": " : "", detail);
	sum.violations++;
}

/* --- steps --- */

static void setting_name(unsigned which, char ret[static 16])
{
	snprintf(ret, 16, "name-%u", which);
}

static void setting_text(unsigned which, uint32_t version, char *ret, size_t cap)
{
	struct chance c = {(uint64_t)which << 32 | version};
	unsigned len = chance_of(&c, (unsigned)cap - 40);
	int n = snprintf(ret, cap, "%u of %u ", version, which);

	memset(ret + n, 'a' + (int)(version % 26), len);
	ret[n + (int)len] = '\0';
}

/* An act's detail has its number, and differs much in length: some fill the log until it is moved. */
static void act_text(uint32_t number, char *ret, size_t cap)
{
	setting_text(999, number, ret, number % 5 == 0 ? cap : 200);
}

static int put_setting(struct db *db, struct model *m, unsigned which)
{
	char name[16], text[4096];

	m->settings[which] = ++run.version;
	setting_name(which, name);
	setting_text(which, run.version, text, sizeof(text));
	return setting_put(db, name, text);
}

static int put_act(struct db *db, struct model *m)
{
	static char text[60000];
	const struct act act = {
		.time = ++m->acts, .operator= "anna", .act = "test", .detail = text};

	act_text(m->acts, text, sizeof(text));
	return act_log(db, &act);
}

static int put_alarm(struct db *db, struct model *m)
{
	m->alarms++;
	return alarm_raise(db, m->alarms, "test", "gw-17", "number %u", m->alarms);
}

static int together(struct db *db, struct model *m)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct model before = *m;
	unsigned n = 2 + chance_of(&run.chance, 4);
	int r = db_begin(db, &tx);

	while (n-- > 0 && r >= 0)
		r = chance_percent(&run.chance, 50)
			    ? put_setting(db, m, chance_of(&run.chance, SETTINGS))
			    : put_act(db, m);
	if (r >= 0 && chance_percent(&run.chance, 10)) {
		*m = before; /* rolled back */
		return 0;
	}
	return r < 0 ? r : db_commit(&tx);
}

static int step(struct db *db, struct model *m)
{
	switch (chance_of(&run.chance, 5)) {
	case 0:
		return put_act(db, m);
	case 1:
		return put_alarm(db, m);
	case 2:
		return together(db, m);
	default:
		return put_setting(db, m, chance_of(&run.chance, SETTINGS));
	}
}

/* --- what it holds --- */

static const char *check_settings(struct db *db, const struct model *m)
{
	char name[16], should[4096], is[SETTING_CAP];

	for (unsigned i = 0; i < SETTINGS; i++) {
		int r;

		setting_name(i, name);
		r = setting_get(db, name, is, sizeof(is));
		if (m->settings[i] ? r < 0 : r != -ENOENT)
			return "a setting";
		setting_text(i, m->settings[i], should, sizeof(should));
		if (m->settings[i] && strcmp(is, should) != 0)
			return "a setting that is another";
	}
	return NULL;
}

static const char *check(struct db *db, const struct model *m)
{
	static char should[60000];
	const char *wrong = check_settings(db, m);
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT time, detail FROM log ORDER BY id");
	cleanup(db_end) struct db_query a = db_query(db, "SELECT count(*), max(time) FROM alarm");
	uint32_t n = 0;
	int r;

	while (!wrong && (r = db_step(&q)) != 0) {
		act_text(++n, should, sizeof(should));
		if (r < 0 || db_uint(&q, 0) != n || strcmp(db_text(&q, 1), should) != 0)
			wrong = "the log";
	}
	if (!wrong && n != m->acts)
		wrong = n < m->acts ? "an act is missing in the log" : "an act that was not done";
	if (!wrong && (db_step(&a) <= 0 || db_uint(&a, 0) != m->alarms))
		wrong = "the alarms";
	return wrong;
}

/* --- lives --- */

static void folder(char ret[static 96])
{
	snprintf(ret, 96, "%s/%u", run.root, run.folders++);
	if (mkdir(ret, 0700) < 0)
		disk_die(ret);
}

static int open_one(struct db **ret)
{
	int r = registry_open(run.dir, run.error, sizeof(run.error), ret);

	/* made again only while it never was */
	if (r == -ENOENT && !run.made && !disk.dead)
		r = registry_create(run.dir, run.error, sizeof(run.error), ret);
	run.made |= r == 0;
	return r;
}

/* false: a violation. */
static bool open_both(uint64_t seed)
{
	const char *wrong;
	int r = open_one(&run.db[0]);

	if (r == 0)
		r = open_one(&run.db[1]);
	if (r < 0 && disk.dead) {
		sum.cut_open++;
		return true;
	}
	if (r < 0) {
		violation(seed, "does not open", run.error);
		return false;
	}
	wrong = check(run.db[0], &run.sure);
	if (wrong && !check(run.db[0], &run.undecided)) {
		run.sure = run.undecided;
		wrong = NULL;
	}
	run.undecided = run.sure;
	if (wrong)
		violation(seed, "lost or half", wrong);
	sum.opened++;
	return !wrong;
}

static bool live(uint64_t seed, unsigned n)
{
	while (n-- > 0 && !disk.dead) {
		struct db *db = run.db[chance_of(&run.chance, 2)];
		int r;

		run.undecided = run.sure;
		r = step(db, &run.undecided);
		sum.steps++;
		if (r >= 0) {
			run.sure = run.undecided;
		} else if (!disk.dead) {
			violation(seed, "a step failed", db_error(db));
			return false;
		}
	}
	return true;
}

static void shut(void)
{
	db_close(steal(run.db[0]));
	db_close(steal(run.db[1]));
}

static void pull(void)
{
	char to[96];

	if (!disk.dead && chance_percent(&run.chance, 50))
		shut();
	disk.dead = true;
	shut();
	folder(to);
	disk_cut(&run.chance, to);
	disk_remove(run.dir);
	memcpy(run.dir, to, sizeof(to));
	sum.cuts++;
}

static void one(uint64_t seed)
{
	static const unsigned calls[] = {40, 100, 500, 2000};
	struct chance c = {seed};
	unsigned cuts;
	bool well = true;

	run.chance = (struct chance){chance_next(&c)};
	disk.chance = (struct chance){chance_next(&c)};
	disk.random = (struct chance){chance_next(&c)};
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(chance_next(&c) % INT_MAX) + 1, NULL);
	run.sure = run.undecided = (struct model){0};
	run.made = false;
	run.version = 0;
	folder(run.dir);
	disk_start(run.dir);
	cuts = 1 + chance_of(&run.chance, 5);
	for (unsigned i = 0; i <= cuts && well; i++) {
		unsigned most = calls[chance_of(&run.chance, ARRAY_SIZE(calls))];

		disk.cut_at = i == cuts || chance_percent(&run.chance, 10)
				      ? 0
				      : disk.calls + 1 + chance_of(&run.chance, most);
		well = open_both(seed);
		if (well && run.db[1])
			well = live(seed, disk.cut_at ? 1000 : chance_of(&run.chance, 40));
		if (i < cuts)
			pull();
	}
	shut();
	disk_remove(run.dir);
}

int main(int argc, char **argv)
{
	const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	uint64_t from, count;

	if (argc != 3) {
		fprintf(stderr, "usage: power-desk FROM COUNT\n");
		return 2;
	}
	from = strtoull(argv[1], NULL, 10);
	count = strtoull(argv[2], NULL, 10);
	snprintf(run.root, sizeof(run.root), "%s/lockbridge-power-XXXXXX", tmp);
	if (crypto_init() < 0 || !mkdtemp(run.root))
		disk_die(run.root);
	for (uint64_t seed = from; seed < from + count; seed++, sum.seeds++)
		one(seed);
	disk_forget();
	disk_remove(run.root);
	printf("{\"seeds\": %" PRIu64 ", \"cuts\": %" PRIu64 ", \"steps\": %" PRIu64
	       ", \"calls\": %" PRIu64 ", \"syncs\": %" PRIu64 ", \"opened\": %" PRIu64
	       ", \"cut while opening\": %" PRIu64 "}\n",
	       sum.seeds, sum.cuts, sum.steps, disk.calls, disk.syncs, sum.opened, sum.cut_open);
	return sum.violations > 0;
}
