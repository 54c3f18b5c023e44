// SPDX-License-Identifier: Apache-2.0
/* A gateway's certificate: which one may follow, when it is time, and a trial that any crash leaves
 * whole. */
#include "fixture.h"

#include "certificate.h"
#include "core/crypto.h"
#include "link/file.h"

#define NOW 1790000000ULL
#define DAY 86400ULL

/* --- a process that ends between two writes ----------------------------------------------------- */

static int writes_left = -1; /* -1: no end */

static void one_write(void)
{
	if (writes_left == 0)
		_exit(9);
	if (writes_left > 0)
		writes_left--;
}

/* In place of the C library's. */
int rename(const char *from, const char *to)
{
	one_write();
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlink(const char *path)
{
	one_write();
	return unlinkat(AT_FDCWD, path, 0);
}

/* --- a box --------------------------------------------------------------------------------------- */

struct box {
	char dir[64];
	char *ca_key, *ca, *key, *request, *old, *new;
	struct x509_authority by;
	struct certificate_files files;
};

static const struct x509_term ten_years = {NOW - 60, NOW + 3650 * DAY};

static char *issue(const struct x509_authority *by, const char *request, uint64_t from, uint64_t to)
{
	const struct x509_term term = {from, to};
	char *ret = NULL;

	assert_int_equal(x509_issue(by, span_str(request), X509_CLIENT, NULL, &term, &ret), 0);
	return ret;
}

static char *in(const struct box *b, const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", b->dir, name);
	return path;
}

static void use(struct box *b, const char *ca)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/gateway.pem", b->dir);
	certificate_files_set(&b->files, path, in(b, "gateway.key"), in(b, ca));
}

static int setup(void **state)
{
	struct box *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	fixture_dir(b->dir);
	assert_int_equal(x509_authority_create("Test city", &ten_years, &b->ca_key, &b->ca), 0);
	assert_int_equal(x509_key_create(&b->key), 0);
	assert_int_equal(x509_request_create(span_str(b->key), "gw-17", &b->request), 0);
	b->by = (struct x509_authority){span_str(b->ca_key), span_str(b->ca)};
	b->old = issue(&b->by, b->request, NOW - 60 * DAY, NOW + 29 * DAY);
	b->new = issue(&b->by, b->request, NOW, NOW + 90 * DAY);
	fixture_write(b->dir, "ca.pem", b->ca);
	fixture_write(b->dir, "gateway.key", b->key);
	fixture_write(b->dir, "gateway.pem", b->old);
	use(b, "ca.pem");
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct box *b = *state;

	writes_left = -1;
	fixture_dir_remove(b->dir);
	x509_wipe(&b->ca_key);
	x509_wipe(&b->ca);
	x509_wipe(&b->key);
	x509_wipe(&b->request);
	x509_wipe(&b->old);
	x509_wipe(&b->new);
	free(b);
	return 0;
}

static char *content(const struct box *b, const char *name)
{
	static char text[2][X509_PEM_MAX + 1];
	static unsigned next;
	char *ret = text[next++ % 2];
	size_t len;

	if (file_read(in(b, name), ret, X509_PEM_MAX, &len) < 0)
		return NULL;
	ret[len] = '\0';
	return ret;
}

static enum certificate_trial trial(const struct box *b)
{
	enum certificate_trial ret;

	assert_int_equal(certificate_trial(&b->files, &ret), 0);
	return ret;
}

/* --- judging ------------------------------------------------------------------------------------- */

static int judged_at(const struct box *b, const char *offered, uint64_t now, bool synchronised)
{
	const struct certificate_judge by = {
		.name = "gw-17",
		.time = {.now = now, .synchronised = synchronised},
	};
	struct x509_facts facts;
	char *pem = NULL;
	int r = certificate_judge(&b->files, span_str(offered), &by, &pem, &facts);

	assert_int_equal(r == 0, pem != NULL);
	if (pem)
		assert_int_equal(x509_certificate_read(span_str(pem), &facts), 0);
	free(pem);
	return r;
}

static int judged(const struct box *b, const char *offered)
{
	return judged_at(b, offered, NOW, true);
}

/* Issued and judged at once. */
static int judged_of(const struct box *b, const struct x509_authority *by, const char *request,
		     uint64_t from, uint64_t to)
{
	cleanup(freep) char *offered = issue(by, request, from, to);

	return judged(b, offered);
}

static void a_successor_is_taken(void **state)
{
	struct box *b = *state;

	assert_int_equal(judged(b, b->new), 0);
	use(b, "gateway.key"); /* whatever the broker's CA is: the issuer's name is the same */
	assert_int_equal(judged(b, b->new), 0);
}

static void what_may_not_follow_is_told_by_name(void **state)
{
	struct box *b = *state;
	cleanup(freep) char *key = NULL, *request = NULL, *id = NULL, *other_key = NULL;
	cleanup(freep) char *other = NULL, *twin_key = NULL, *twin = NULL, *both = NULL;
	struct x509_authority foreign, same_name;
	uint64_t to = NOW + 90 * DAY;

	assert_int_equal(x509_key_create(&key), 0);
	assert_int_equal(x509_request_create(span_str(key), "gw-17", &request), 0);
	assert_int_equal(x509_request_create(span_str(b->key), "gw-18", &id), 0);
	assert_int_equal(x509_authority_create("Other", &ten_years, &other_key, &other), 0);
	assert_int_equal(x509_authority_create("Test city", &ten_years, &twin_key, &twin), 0);
	foreign = (struct x509_authority){span_str(other_key), span_str(other)};
	same_name = (struct x509_authority){span_str(twin_key), span_str(twin)};

	assert_int_equal(judged_of(b, &b->by, request, NOW, to), CERTIFICATE_OTHER_KEY);
	assert_int_equal(judged_of(b, &b->by, id, NOW, to), CERTIFICATE_OTHER_ID);
	assert_int_equal(judged_of(b, &foreign, b->request, NOW, to), CERTIFICATE_OTHER_ISSUER);
	assert_int_equal(judged_of(b, &same_name, b->request, NOW, to), CERTIFICATE_OTHER_ISSUER);
	assert_int_equal(judged(b, b->ca), CERTIFICATE_AUTHORITY);
	assert_int_equal(judged_of(b, &b->by, b->request, NOW - 1, NOW + 29 * DAY),
			 CERTIFICATE_NOT_LONGER);
	assert_int_equal(judged_of(b, &b->by, b->request, NOW + 121, to), CERTIFICATE_NOT_YET);
	assert_int_equal(judged_of(b, &b->by, b->request, NOW + 120, to), 0);
	assert_int_equal(judged_at(b, b->new, NOW + 90 * DAY, true), CERTIFICATE_EXPIRED);
	assert_int_equal(judged(b, b->old), CERTIFICATE_HELD);
	/* the first one counts, what is behind is its chain */
	assert_true(asprintf(&both, "%s%s", b->ca, b->new) > 0);
	assert_int_equal(judged(b, both), CERTIFICATE_AUTHORITY);
}

static void without_the_issuer_a_twin_of_its_name_needs_its_key_identifier(void **state)
{
	struct box *b = *state;
	cleanup(freep) char *twin_key = NULL, *twin = NULL;
	struct x509_authority same_name;

	assert_int_equal(x509_authority_create("Test city", &ten_years, &twin_key, &twin), 0);
	same_name = (struct x509_authority){span_str(twin_key), span_str(twin)};
	use(b, "none.pem");
	assert_int_equal(judged_of(b, &same_name, b->request, NOW, NOW + 90 * DAY),
			 CERTIFICATE_OTHER_ISSUER);
	assert_int_equal(judged(b, b->new), 0);
}

static void the_chain_in_the_file_knows_the_issuer(void **state)
{
	struct box *b = *state;
	cleanup(freep) char *chain = NULL, *twin_key = NULL, *twin = NULL;
	struct x509_authority same_name;

	assert_true(asprintf(&chain, "%s%s", b->old, b->ca) > 0);
	fixture_write(b->dir, "gateway.pem", chain);
	use(b, "none.pem");
	assert_int_equal(x509_authority_create("Test city", &ten_years, &twin_key, &twin), 0);
	same_name = (struct x509_authority){span_str(twin_key), span_str(twin)};
	assert_int_equal(judged_of(b, &same_name, b->request, NOW, NOW + 90 * DAY),
			 CERTIFICATE_OTHER_ISSUER);
	assert_int_equal(judged(b, b->new), 0);
}

static void a_clock_that_lags_refuses_no_young_certificate(void **state)
{
	struct box *b = *state;

	assert_int_equal(judged_at(b, b->new, NOW - 50 * DAY, false), 0);
	assert_int_equal(judged_at(b, b->new, NOW - 50 * DAY, true), CERTIFICATE_NOT_YET);
}

static void garbage_is_garbage(void **state)
{
	struct box *b = *state;
	cleanup(freep) char *cut = strdup(b->new), *tail = NULL, *long_one = NULL, *many = NULL;
	cleanup(freep) char *broken = strdup(b->new);
	static const char begin[] = "-----BEGIN CERTIFICATE-----\n";
	size_t len = strlen(b->new);

	assert_int_equal(judged(b, ""), CERTIFICATE_GARBAGE);
	assert_int_equal(judged(b, "hello"), CERTIFICATE_GARBAGE);
	assert_int_equal(judged(b, begin), CERTIFICATE_GARBAGE);
	assert_int_equal(judged(b, b->key), CERTIFICATE_GARBAGE);
	assert_int_equal(judged(b, b->request), CERTIFICATE_GARBAGE);
	cut[len / 2] = '\0';
	assert_int_equal(judged(b, cut), CERTIFICATE_GARBAGE);
	broken[len / 2] = '!';
	assert_int_equal(judged(b, broken), CERTIFICATE_GARBAGE);
	/* OpenSSL refuses the whole file for a broken chain */
	assert_true(asprintf(&tail, "%s%s", b->new, cut) > 0);
	assert_int_equal(judged(b, tail), CERTIFICATE_GARBAGE);
	long_one = calloc(1, X509_PEM_MAX + 2);
	assert_non_null(long_one);
	memset(long_one, '\n', X509_PEM_MAX + 1);
	memcpy(long_one, b->new, len);
	assert_int_equal(judged(b, long_one), CERTIFICATE_GARBAGE);
	/* many beginnings of one certificate would make much of little */
	many = calloc(1, X509_PEM_MAX);
	assert_non_null(many);
	while (strlen(many) + sizeof(begin) + len < X509_PEM_MAX)
		strcat(many, "-----BEGIN CERTIFICATE-----x\n");
	strcat(many, b->new);
	assert_int_equal(judged(b, many), CERTIFICATE_GARBAGE);
}

static void only_certificates_are_written(void **state)
{
	struct box *b = *state;
	cleanup(freep) char *offered = NULL, *want = NULL, *pem = NULL;
	const struct certificate_judge by = {.name = "gw-17", .time = {.now = NOW}};
	struct x509_facts facts;

	assert_true(asprintf(&offered, "a word\n%s\n%s%s", b->new, b->key, b->ca) > 0);
	assert_true(asprintf(&want, "%s%s", b->new, b->ca) > 0);
	assert_int_equal(certificate_judge(&b->files, span_str(offered), &by, &pem, &facts), 0);
	assert_string_equal(pem, want);
}

static void one_that_cannot_be_read_any_more_is_followed_by_any_that_fits(void **state)
{
	struct box *b = *state;

	fixture_write(b->dir, "gateway.pem", "dust\n");
	assert_int_equal(judged(b, b->new), 0);
	assert_int_equal(certificate_install(&b->files, span_str(b->new)), 0);
	assert_string_equal(content(b, "gateway.pem"), b->new);
}

static void a_key_that_cannot_be_read_is_no_refusal(void **state)
{
	struct box *b = *state;

	assert_int_equal(unlinkat(AT_FDCWD, in(b, "gateway.key"), 0), 0);
	assert_int_equal(judged(b, b->new), -ENOENT);
}

static void a_file_of_another_key_is_noticed(void **state)
{
	struct box *b = *state;
	cleanup(freep) char *key = NULL;
	struct x509_facts facts;

	assert_int_equal(certificate_read(&b->files, &facts), 0);
	assert_string_equal(facts.name, "gw-17");
	assert_int_equal(x509_key_create(&key), 0);
	fixture_write(b->dir, "gateway.key", key);
	assert_int_equal(certificate_read(&b->files, &facts), -EBADMSG);
	fixture_write(b->dir, "gateway.pem", "dust\n");
	assert_int_equal(certificate_read(&b->files, &facts), -EINVAL);
}

static void the_request_is_for_the_key_and_the_id(void **state)
{
	struct box *b = *state;
	cleanup(freep) char *request = NULL;
	struct x509_facts asked, held;

	assert_int_equal(certificate_request(&b->files, "gw-17", &request), 0);
	assert_int_equal(x509_request_read(span_str(request), &asked), 0);
	assert_int_equal(certificate_read(&b->files, &held), 0);
	assert_string_equal(asked.name, "gw-17");
	assert_memory_equal(asked.key, held.key, sizeof(held.key));
}

static void a_third_of_its_life_is_time_and_a_sixth_is_late(void **state)
{
	static const struct {
		uint64_t life, left;
		bool due, expiring;
	} cases[] = {
		{90 * DAY, 90 * DAY, false, false},    {90 * DAY, 30 * DAY, false, false},
		{90 * DAY, 30 * DAY - 1, true, false}, {90 * DAY, 14 * DAY, true, false},
		{90 * DAY, 14 * DAY - 1, true, true},  {90 * DAY, 0, true, true},
		{30 * DAY, 10 * DAY - 1, true, false}, {30 * DAY, 5 * DAY, true, false},
		{30 * DAY, 5 * DAY - 1, true, true},   {3, 1, false, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct x509_facts facts = {.not_before = NOW, .not_after = NOW + cases[i].life};
		uint64_t now = facts.not_after - cases[i].left;

		if (certificate_due(&facts, now) != cases[i].due ||
		    certificate_expiring(&facts, now) != cases[i].expiring)
			fail_msg("case %zu", i);
	}
	assert_int_equal(certificate_days(NOW, NOW), 0);
	assert_int_equal(certificate_days(NOW + DAY - 1, NOW), 0);
	assert_int_equal(certificate_days(NOW + DAY, NOW), 1);
	assert_int_equal(certificate_days(NOW, NOW + 1), -1);
	assert_int_equal(certificate_days(NOW, NOW + DAY + 1), -2);
}

/* --- the trial ----------------------------------------------------------------------------------- */

static void install(struct box *b)
{
	assert_int_equal(certificate_install(&b->files, span_str(b->new)), 0);
}

/* The broker takes one of the two alone: true when the gateway is in, within so many turns. */
static bool gets_in_with(struct box *b, const char *good)
{
	for (int turn = 0; turn < 3; turn++) {
		if (strcmp(content(b, "gateway.pem"), good) == 0) {
			assert_int_equal(certificate_settle(&b->files), 0);
			assert_int_equal(trial(b), CERTIFICATE_SETTLED);
			assert_null(content(b, "gateway.pem.old"));
			assert_null(content(b, "gateway.pem.new"));
			return strcmp(content(b, "gateway.pem"), good) == 0;
		}
		if (trial(b) == CERTIFICATE_SETTLED)
			return false;
		assert_int_equal(certificate_swap(&b->files, NOW), 0);
	}
	return false;
}

static void a_trial_goes_to_and_fro_until_the_broker_takes_one(void **state)
{
	struct box *b = *state;

	assert_int_equal(trial(b), CERTIFICATE_SETTLED);
	assert_int_equal(certificate_swap(&b->files, NOW), -ENOENT);
	install(b);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(trial(b), CERTIFICATE_NEW_IN_USE);
		assert_string_equal(content(b, "gateway.pem"), b->new);
		assert_int_equal(certificate_swap(&b->files, NOW), 0);
		assert_int_equal(trial(b), CERTIFICATE_OLD_IN_USE);
		assert_string_equal(content(b, "gateway.pem"), b->old);
		assert_int_equal(certificate_swap(&b->files, NOW), 0);
	}
	assert_true(gets_in_with(b, b->new));
	assert_false(gets_in_with(b, b->old));
}

static void the_former_one_is_put_back_only_while_it_is_good(void **state)
{
	struct box *b = *state;
	cleanup(freep) char *key = NULL;

	install(b);
	assert_int_equal(certificate_swap(&b->files, NOW + 29 * DAY), CERTIFICATE_EXPIRED);
	assert_string_equal(content(b, "gateway.pem"), b->new);
	assert_int_equal(x509_key_create(&key), 0);
	fixture_write(b->dir, "gateway.key", key);
	assert_int_equal(certificate_swap(&b->files, NOW), CERTIFICATE_OTHER_KEY);
	assert_string_equal(content(b, "gateway.pem"), b->new);
	assert_int_equal(trial(b), CERTIFICATE_NEW_IN_USE);
}

/* Longer than any certificate: as good as another one that the broker does not take. */
static void a_file_that_grew_too_long_gives_way_to_the_former_one(void **state)
{
	static const char *const long_ones[] = {"gateway.pem", "gateway.pem.old"};
	struct box *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(long_ones); i++) {
		fixture_write(b->dir, "gateway.pem", b->old);
		fixture_write(b->dir, "gateway.pem.old", b->old);
		assert_int_equal(truncate(in(b, long_ones[i]), 1 << 20), 0);
		assert_int_equal(trial(b), CERTIFICATE_NEW_IN_USE);
		if (i == 0)
			assert_int_equal(certificate_swap(&b->files, NOW), 0);
		assert_true(gets_in_with(b, b->old));
	}
}

static void what_the_broker_took_last_survives_a_second_renewal(void **state)
{
	struct box *b = *state;
	cleanup(freep) char *newer = issue(&b->by, b->request, NOW, NOW + 91 * DAY);

	install(b);
	assert_int_equal(certificate_install(&b->files, span_str(newer)), 0);
	assert_string_equal(content(b, "gateway.pem.old"), b->old);
	assert_int_equal(certificate_swap(&b->files, NOW), 0);
	install(b);
	assert_int_equal(trial(b), CERTIFICATE_NEW_IN_USE);
	assert_true(gets_in_with(b, b->old));
}

static int do_install(struct box *b)
{
	return certificate_install(&b->files, span_str(b->new));
}

static int do_swap(struct box *b)
{
	return certificate_swap(&b->files, NOW);
}

static int do_settle(struct box *b)
{
	return certificate_settle(&b->files);
}

/* Up to the nth write in a process of its own; true: it came to its end. */
static bool cut_short(struct box *b, int (*step)(struct box *b), int writes)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		writes_left = writes;
		_exit(step(b) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9));
	return WEXITSTATUS(status) == 0;
}

static void begin_again(struct box *b)
{
	fixture_dir_remove(b->dir);
	assert_int_equal(mkdir(b->dir, 0700), 0);
	fixture_write(b->dir, "ca.pem", b->ca);
	fixture_write(b->dir, "gateway.key", b->key);
	fixture_write(b->dir, "gateway.pem", b->old);
}

static void no_crash_loses_a_certificate(void **state)
{
	static const struct {
		const char *what;
		int swaps; /* after the install, before the step */
		int (*step)(struct box *b);
		bool old_stays, new_stays; /* must be found after it, whatever the broker takes */
	} cases[] = {
		{"install", -1, do_install, true, false},
		{"old back", 0, do_swap, true, true},
		{"new again", 1, do_swap, true, true},
		{"new taken", 0, do_settle, false, true},
		{"old taken", 1, do_settle, true, false},
		{"installed over the former one", 1, do_install, true, false},
	};
	struct box *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool ended = false;
		int writes = 0;

		for (; !ended; writes++) {
			for (int old = 0; old < 2; old++) {
				begin_again(b);
				if (cases[i].swaps >= 0)
					install(b);
				if (cases[i].swaps == 1)
					assert_int_equal(do_swap(b), 0);
				ended = cut_short(b, cases[i].step, writes);
				/* whole, whenever the connector comes */
				assert_true(strcmp(content(b, "gateway.pem"), b->old) == 0 ||
					    strcmp(content(b, "gateway.pem"), b->new) == 0);
				if (!gets_in_with(b, old ? b->old : b->new) &&
				    (old ? cases[i].old_stays : cases[i].new_stays))
					fail_msg("%s, %d writes: the %s one is lost", cases[i].what,
						 writes, old ? "former" : "new");
			}
		}
		assert_true(writes > 1); /* or nothing was cut short */
	}
}

static void a_folder_that_cannot_be_written_is_told_and_harms_nothing(void **state)
{
	struct box *b = *state;

	assert_int_equal(certificate_writable(&b->files), 0);
	if (geteuid() == 0) /* who may write everywhere but where there is nothing */
		snprintf(b->files.path, sizeof(b->files.path), "/proc/self/gateway.pem");
	else
		assert_int_equal(chmod(b->dir, 0500), 0);
	assert_true(certificate_install(&b->files, span_str(b->new)) < 0);
	if (geteuid() != 0) {
		assert_int_equal(certificate_writable(&b->files), -EACCES);
		assert_int_equal(chmod(b->dir, 0700), 0);
	}
	assert_string_equal(content(b, "gateway.pem"), b->old);
}

static void a_link_stays_a_link(void **state)
{
	struct box *b = *state;

	assert_int_equal(symlink(in(b, "gateway.pem"), in(b, "link.pem")), 0);
	certificate_files_set(&b->files, in(b, "link.pem"), in(b, "gateway.key"), in(b, "ca.pem"));
	install(b);
	assert_string_equal(content(b, "gateway.pem"), b->new);
	assert_string_equal(content(b, "gateway.pem.old"), b->old);
	assert_null(content(b, "link.pem.old"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_successor_is_taken),
		TEST(what_may_not_follow_is_told_by_name),
		TEST(without_the_issuer_a_twin_of_its_name_needs_its_key_identifier),
		TEST(the_chain_in_the_file_knows_the_issuer),
		TEST(a_clock_that_lags_refuses_no_young_certificate),
		TEST(garbage_is_garbage),
		TEST(only_certificates_are_written),
		TEST(one_that_cannot_be_read_any_more_is_followed_by_any_that_fits),
		TEST(a_key_that_cannot_be_read_is_no_refusal),
		TEST(a_file_of_another_key_is_noticed),
		TEST(the_request_is_for_the_key_and_the_id),
		TEST(a_third_of_its_life_is_time_and_a_sixth_is_late),
		TEST(a_trial_goes_to_and_fro_until_the_broker_takes_one),
		TEST(the_former_one_is_put_back_only_while_it_is_good),
		TEST(a_file_that_grew_too_long_gives_way_to_the_former_one),
		TEST(what_the_broker_took_last_survives_a_second_renewal),
		TEST(no_crash_loses_a_certificate),
		TEST(a_folder_that_cannot_be_written_is_told_and_harms_nothing),
		TEST(a_link_stays_a_link),
	};

	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("certificate", tests, NULL, NULL);
}
