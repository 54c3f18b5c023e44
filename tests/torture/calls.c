// SPDX-License-Identifier: Apache-2.0
/*
 * The store alone, failing at each of its calls in every way that shim-call.c knows: thousands of
 * tries where the whole agent allows hundreds.
 *
 *   calls FOLDER [SEED [SECONDS]]
 *
 * A child opens a store, works on it, and tells through a pipe what it is about to do and what
 * became of it; the shim stops it at the n-th call, for every n until it comes through. Then the
 * store is opened without a fault, and must hold all that succeeded, at most one thing more (the one
 * under way), and nothing by halves; and it must take new entries. Three beginnings: no store yet, a
 * store, and a store whose process was killed with a full write-ahead log. With SECONDS a sample by
 * SEED. Output: a line per kind of fault, "tries violations name", after the violations themselves.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calls-work.h"

#define EVENTS 64
#define AUTHS  16

/* What is known of a store from outside: what is certainly there, and what may be there. */
struct model {
	char stream[64];
	uint64_t list, list_tried;
	uint64_t floor, floor_tried;
	uint64_t lock, lock_tried;
	uint64_t events; /* 1 to here */
	char event[EVENTS][128];
	int auth[AUTHS], auth_tried[AUTHS]; /* phase; 0: none */
};

enum start { NOTHING, WHOLE, KILLED, STARTS };
static const char *const start_words[STARTS] = {"no store", "a store", "a killed one's store"};

static const struct fault {
	const char *name, *plan;
	bool dies, again;
} faults[] = {
	{"store: killed before the n-th call", "do=kill-before", true, false},
	{"store: killed after the n-th call", "do=kill-after", true, false},
	{"store: killed in the middle of the n-th write", "do=torn only=write", true, false},
	{"store: EIO at the n-th call", "do=error errno=EIO", false, false},
	{"store: ENOSPC at the n-th call", "do=error errno=ENOSPC", false, false},
	{"store: a short n-th write", "do=short only=write", false, false},
	{"store: EIO for ever from the n-th call on", "do=dead errno=EIO", false, false},
	{"store: ENOSPC for ever from the n-th call on", "do=dead errno=ENOSPC", false, false},
	{"store: disk full for ever from the n-th write on", "do=full only=write", false, false},
	{"store: killed at the n-th call, and again", "do=kill-after", true, true},
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static struct {
	char folder[200], store[256], trace[256], shim[512], self[512];
	unsigned seed;
	double until; /* 0: no end */
	unsigned long tries[FAULTS], violations[FAULTS], points[STARTS];
} run;

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- what it told --------------------------------------------------------------------------------- */

static uint64_t *certain(struct model *m, const char *what, bool tried)
{
	if (strcmp(what, "list") == 0)
		return tried ? &m->list_tried : &m->list;
	if (strcmp(what, "floor") == 0)
		return tried ? &m->floor_tried : &m->floor;
	return tried ? &m->lock_tried : &m->lock;
}

static const char *hear_event(struct model *m, const char *event)
{
	uint64_t seq = strtoull(event, NULL, 10);

	if (seq == 0 || seq >= EVENTS)
		return "an event's number is out of range";
	if (seq <= m->events && strcmp(m->event[seq], event) != 0)
		return "a number was given to a second event";
	snprintf(m->event[seq], sizeof(m->event[seq]), "%s", event);
	m->events = seq > m->events ? seq : m->events;
	return NULL;
}

/* One line of a child's; NULL, or what is wrong. */
static const char *hear(struct model *m, char *line)
{
	char verb[8], what[16], *event;
	int r, at = 0;
	uint64_t i;

	if (sscanf(line, "%7s %d %15s %" SCNu64 " %n", verb, &r, what, &i, &at) != 4 || at == 0)
		return "the child's words cannot be read";
	event = line + at;
	event[strcspn(event, "\n")] = 0;
	if (r == -EBADMSG)
		return "what failed was taken for damage";
	if (strcmp(verb, "try") == 0) {
		if (strncmp(what, "auth", 4) == 0 && i < AUTHS)
			m->auth_tried[i] = what[4] - '0';
		else if (strcmp(what, "open") != 0 && strcmp(what, "event") != 0)
			*certain(m, what, true) = i;
		return NULL;
	}
	if (r < 0)
		return NULL;
	if (strcmp(what, "open") == 0) {
		if (m->stream[0] && strcmp(m->stream, event) != 0)
			return "it opened another store";
		snprintf(m->stream, sizeof(m->stream), "%s", event);
		return NULL;
	}
	if (strncmp(what, "auth", 4) == 0 && i < AUTHS) {
		m->auth[i] = what[4] - '0';
		return hear_event(m, event);
	}
	if (strcmp(what, "event") == 0)
		return hear_event(m, event);
	*certain(m, what, false) = i;
	return NULL;
}

/* Runs a child on the store; *ret_hit: the fault was met. NULL, or what is wrong. */
static const char *child(struct model *m, uint64_t from, const char *plan, const char *mode,
			 bool *ret_hit, int *ret_status)
{
	char number[24], line[512];
	const char *wrong = NULL;
	int ends[2];
	FILE *from_child;
	pid_t pid;

	unlink(run.trace);
	snprintf(number, sizeof(number), "%" PRIu64, from);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return "no pipe";
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		setenv("TORTURE_CALL", plan, 1);
		setenv("TORTURE_TRACE", run.trace, 1);
		setenv("LD_PRELOAD", run.shim, 1);
		execl(run.self, run.self, mode, run.store, number, NULL);
		_exit(5);
	}
	close(ends[1]);
	from_child = fdopen(ends[0], "r");
	while (fgets(line, sizeof(line), from_child)) {
		const char *text = hear(m, line);

		wrong = wrong ? wrong : text;
	}
	fclose(from_child);
	waitpid(pid, ret_status, 0);
	*ret_hit = false;
	from_child = fopen(run.trace, "r");
	while (from_child && fgets(line, sizeof(line), from_child))
		*ret_hit |= strstr(line, "<-") != NULL;
	if (from_child)
		fclose(from_child);
	return wrong;
}

/* --- what is there -------------------------------------------------------------------------------- */

struct found {
	const struct model *m;
	uint64_t list, events, last;
	uint8_t prev[SHA256_LEN];
	const char *wrong;
};

static int find_list(const char *slot, struct span document, struct span under, void *user)
{
	static uint8_t bytes[LIST_LEN];
	struct found *f = user;

	if (document.len != LIST_LEN) {
		f->wrong = "the list has another length";
		return 0;
	}
	memcpy(&f->list, document.data, sizeof(f->list));
	list_bytes(f->list, bytes);
	if (memcmp(bytes, document.data, LIST_LEN) != 0)
		f->wrong = "the list is of two versions";
	return 0;
}

static int find_event(const struct store_row *row, void *user)
{
	struct found *f = user;
	char hex[HEX_CAP(SHA256_LEN)], head[128];

	if (f->last && row->seq != f->last + 1)
		f->wrong = "the events have a gap";
	hex_encode(SPAN(f->prev), hex, sizeof(hex));
	snprintf(head, sizeof(head), "%" PRIu64 ":%s:", row->seq, hex);
	if ((f->last || row->seq == 1) &&
	    strncmp((const char *)row->payload.data, head, strlen(head)) != 0)
		f->wrong = "an event does not follow the one before";
	if (row->seq <= f->m->events && !span_is(row->payload, f->m->event[row->seq]))
		f->wrong = "an event is another than was said";
	crypto_sha256(row->payload, f->prev);
	f->last = row->seq;
	f->events++;
	return 0;
}

static const char *check_auths(struct store *store, const struct model *m)
{
	for (uint64_t i = 0; i < AUTHS; i++) {
		struct store_authorization auth = {0};
		uint8_t cti[CTI_LEN];
		int r;

		make_cti(i, cti);
		r = store_find(store, cti, &auth);
		if (r < 0 && r != -ENOENT)
			return "an authorization cannot be read";
		if (m->auth[i] && r == -ENOENT)
			return "an authorization was forgotten";
		if (r == 0 && (int)auth.phase < m->auth[i])
			return "an authorization is of an older phase";
		if (r == 0 && (int)auth.phase > m->auth_tried[i])
			return "an authorization is of a phase that nobody wrote";
	}
	return NULL;
}

static const char *check_numbers(struct store *store, const struct model *m)
{
	struct store_lock lock = {0};
	uint64_t floor = 0;
	size_t len;
	int r = store_get_value(store, "floor", &floor, sizeof(floor), &len);

	if (r < 0 && r != -ENOENT)
		return "the floor cannot be read";
	if (floor < m->floor || floor > m->floor_tried)
		return "the floor is another";
	r = store_get_lock(store, "lock-1", &lock);
	if (r < 0 && r != -ENOENT)
		return "the lock's row cannot be read";
	return lock.n < m->lock || lock.n > m->lock_tried ? "the lock's row is another" : NULL;
}

static const char *check(struct store *store, const struct model *m)
{
	struct found f = {.m = m};
	const char *wrong;
	uint64_t seq;
	char event[128];

	if (m->stream[0] && strcmp(store_stream(store), m->stream) != 0)
		return "another store is there";
	if (store_each_document(store, find_list, &f) < 0 || f.wrong)
		return f.wrong ? f.wrong : "the documents cannot be read";
	if (f.list < m->list || f.list > m->list_tried)
		return f.list < m->list ? "the list is older than was said" : "a list nobody put";
	if (store_each_event(store, 1, EVENTS, false, find_event, &f) < 0 || f.wrong)
		return f.wrong ? f.wrong : "the events cannot be read";
	if (f.last < m->events || f.last > m->events + 1)
		return f.last < m->events ? "events were lost" : "more events than were written";
	wrong = check_auths(store, m);
	wrong = wrong ? wrong : check_numbers(store, m);
	if (wrong)
		return wrong;
	make_event(store, "after", event, &seq);
	return store_event(store, seq, event, span_of(NULL, 0), 0) < 0 ? "it takes nothing new"
								       : NULL;
}

/* What a crash leaves of a store that was being made goes at the next start. */
static bool left_over(void)
{
	char path[600];
	struct dirent *entry;
	bool found = false;
	DIR *folder;

	snprintf(path, sizeof(path), "%s/tried", run.folder);
	folder = opendir(path);
	while (folder && !found && (entry = readdir(folder)))
		found = strstr(entry->d_name, ".making-") != NULL;
	if (folder)
		closedir(folder);
	return found;
}

static const char *verify(const struct model *m)
{
	static char error[600];
	const struct store_options options = {.path = run.store,
					      .event_bytes_max = 1 << 20,
					      .event_keep_s = 1000,
					      .error = error,
					      .error_cap = sizeof(error)};
	struct store *store;
	const char *wrong;

	if (store_open(&options, &store) < 0)
		return error;
	wrong = check(store, m);
	if (!wrong && left_over())
		wrong = "what was left of making it is still there";
	store_close(store);
	return wrong;
}

/* --- each try ------------------------------------------------------------------------------------- */

static void clean(void)
{
	char path[600];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "%s/tried", run.folder);
	mkdir(path, 0700);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		snprintf(path, sizeof(path), "%s/tried/%s", run.folder, entry->d_name);
		unlink(path);
	}
	if (folder)
		closedir(folder);
}

static bool copy(const char *from, const char *to)
{
	char bytes[65536];
	ssize_t n;
	int in = open(from, O_RDONLY | O_CLOEXEC), out;

	if (in < 0)
		return false;
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while ((n = read(in, bytes, sizeof(bytes))) > 0 && write(out, bytes, (size_t)n) == n)
		;
	close(in);
	close(out);
	return n == 0;
}

/* The store that a try begins with, from where it was kept. */
static void lay_out(enum start start)
{
	static const char *const tails[] = {"", "-wal"};

	clean();
	for (size_t i = 0; i < ARRAY_SIZE(tails); i++) {
		char from[600], to[600];

		snprintf(from, sizeof(from), "%s/%d.db%s", run.folder, (int)start, tails[i]);
		snprintf(to, sizeof(to), "%s%s", run.store, tails[i]);
		(void)copy(from, to);
	}
}

static void keep(enum start start)
{
	char from[600], to[600];

	snprintf(from, sizeof(from), "%s", run.store);
	snprintf(to, sizeof(to), "%s/%d.db", run.folder, (int)start);
	(void)copy(from, to);
	snprintf(from, sizeof(from), "%s-wal", run.store);
	snprintf(to, sizeof(to), "%s/%d.db-wal", run.folder, (int)start);
	(void)copy(from, to);
}

static bool failed(const struct fault *fault, const char *plan, enum start start, const char *wrong,
		   int status)
{
	printf("VIOLATION %s: %s, %s: %s (status %#x)\n", fault->name, start_words[start], plan,
	       wrong, (unsigned)status);
	run.violations[fault - faults]++;
	return false;
}

/* One fault at the n-th call. *ret_hit: it came that far. */
static void attempt(const struct fault *fault, enum start start, const struct model *before,
		    unsigned long n, bool *ret_hit)
{
	struct model m = *before;
	char plan[128];
	const char *wrong;
	int status = 0;
	bool hit;

	lay_out(start);
	snprintf(plan, sizeof(plan), "kind=disk at=%lu %s", n, fault->plan);
	wrong = child(&m, 1 + ROUNDS, plan, "--work", ret_hit, &status);
	if (fault->again && *ret_hit && !wrong) {
		snprintf(plan, sizeof(plan), "kind=disk at=%lu %s", 1 + (unsigned long)rand() % 40,
			 rand() % 2 ? "do=kill-before" : "do=torn");
		wrong = child(&m, 1 + 2 * ROUNDS, plan, "--work", &hit, &status);
	}
	if (!*ret_hit && !wrong && status != 0)
		wrong = "it failed without a fault";
	if (!wrong && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		wrong = "it crashed";
	if (!wrong && *ret_hit && fault->dies && !fault->again && !WIFSIGNALED(status))
		wrong = "it was to die, and did not";
	if (!wrong)
		wrong = verify(&m);
	if (*ret_hit)
		run.tries[fault - faults]++;
	if (wrong)
		failed(fault, plan, start, wrong, status);
}

static bool over(void)
{
	return run.until > 0 && seconds() > run.until;
}

/* Every n in its turn, or by chance until the time is over. */
static void walk(const struct model before[static STARTS])
{
	bool hit = true;

	if (run.until > 0) {
		for (size_t f = 0; f < FAULTS || !over(); f++) { /* each at least once */
			enum start start = (enum start)((unsigned)rand() % STARTS);

			do
				attempt(&faults[f % FAULTS], start, &before[start],
					1 + (unsigned long)rand() % run.points[start], &hit);
			while (!hit);
		}
		return;
	}
	for (size_t f = 0; f < FAULTS; f++) {
		for (enum start start = NOTHING; start < STARTS; start++) {
			hit = true;
			for (unsigned long n = 1; hit; n++)
				attempt(&faults[f], start, &before[start], n, &hit);
		}
	}
}

/* The three beginnings, made by children that nothing disturbs; and how many points each run has. */
static const char *prepare(struct model before[static STARTS])
{
	static const char *const modes[STARTS] = {"--work", "--work", "--abandon"};
	bool hit;

	clean();
	for (enum start start = WHOLE; start < STARTS; start++) {
		int status = 0;
		const char *wrong;

		clean();
		wrong = child(&before[start], 1, "at=0 kind=disk", modes[start], &hit, &status);
		if (wrong || status != 0)
			return wrong ? wrong : "an undisturbed child failed";
		keep(start);
	}
	for (enum start start = NOTHING; start < STARTS; start++) {
		struct model m = before[start];
		int status = 0;
		char line[512];
		FILE *trace;

		lay_out(start);
		(void)child(&m, 1 + ROUNDS, "at=0 kind=disk", "--work", &hit, &status);
		trace = fopen(run.trace, "r");
		while (trace && fgets(line, sizeof(line), trace))
			run.points[start]++;
		if (trace)
			fclose(trace);
		if (status != 0 || run.points[start] == 0)
			return "an undisturbed child failed, or the shim counts nothing";
	}
	return NULL;
}

static int places(const char *folder)
{
	ssize_t len = readlink("/proc/self/exe", run.self, sizeof(run.self) - 1);
	char *slash;

	if (len < 0 || strlen(folder) >= sizeof(run.folder))
		return -1;
	run.self[len] = 0;
	slash = strrchr(run.self, '/');
	snprintf(run.shim, sizeof(run.shim), "%.*s/shim-call.so", (int)(slash - run.self),
		 run.self);
	snprintf(run.folder, sizeof(run.folder), "%s", folder);
	snprintf(run.store, sizeof(run.store), "%s/tried/store.db", folder);
	snprintf(run.trace, sizeof(run.trace), "%s/trace", folder);
	return access(run.shim, R_OK);
}

int main(int argc, char **argv)
{
	static struct model before[STARTS];
	unsigned long bad = 0;
	const char *wrong;

	if (crypto_init() < 0)
		return 2;
	if (argc == 4 && (strcmp(argv[1], "--work") == 0 || strcmp(argv[1], "--abandon") == 0))
		return work(argv[2], strtoull(argv[3], NULL, 10), argv[1][2] == 'a');
	if (argc < 2 || places(argv[1]) < 0) {
		fprintf(stderr, "Usage: calls FOLDER [SEED [SECONDS]], beside shim-call.so\n");
		return 2;
	}
	run.seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
	run.until = argc > 3 ? seconds() + strtod(argv[3], NULL) : 0;
	srand(run.seed);
	setvbuf(stdout, NULL, _IOLBF, 0);
	wrong = prepare(before);
	if (wrong) {
		fprintf(stderr, "calls: %s\n", wrong);
		return 2;
	}
	walk(before);
	for (size_t f = 0; f < FAULTS; f++) {
		printf("%lu %lu %s\n", run.tries[f], run.violations[f], faults[f].name);
		bad += run.violations[f];
	}
	printf("points %lu %lu %lu\n", run.points[NOTHING], run.points[WHOLE], run.points[KILLED]);
	return bad ? 1 : 0;
}
