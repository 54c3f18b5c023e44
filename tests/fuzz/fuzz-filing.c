// SPDX-License-Identifier: Apache-2.0
/*
 * What gateways say, into the desk's registry: events with their receipts, states, lock messages.
 * One of them may be anybody's with a certificate. Nothing is filed twice, nothing is proven but by
 * the lock's key, and whatever comes, the registry goes on.
 *
 * Records as in resign.h; the first byte says what it is. Settings: 1 events are numbered and
 * chained anew, so that the walk along the stream gets somewhere.
 */
#include <inttypes.h>
#include <unistd.h>

#include "desk/events.h"
#include "desk/fleet.h"
#include "desk/registry.h"
#include "fuzz/resign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

enum { FROM_1, FROM_2, FROM_STRANGER, STATE, LOCK, RECEIPT, WHATS };

static const char *const gateways[] = {"gw-1", "gw-2", "gw-3"}; /* the third is not ours */

/* --- a registry, as it is before each input ----------------------------------------------------- */

static void run_sql(struct db *db, const char *sql)
{
	cleanup(db_end) struct db_query q = db_query(db, sql);

	must(db_run(&q) == 0);
}

static struct db *registry(void)
{
	static char dir[] = "/tmp/lockbridge-fuzz-XXXXXX", path[64];
	static struct db *db;
	struct lock_row lock = {.id = SIGN_LOCK, .ngateways = 1, .gateways = {"gw-1"}};
	char error[256];

	if (db)
		return db;
	must(mkdtemp(dir) != NULL);
	must(registry_create(dir, error, sizeof(error), &db) == 0);
	must(gateway_add(db, "gw-1", SIGN_NOW) == 0 && gateway_add(db, "gw-2", SIGN_NOW) == 0);
	memcpy(lock.pub, resign_signer(6)->pub, PUBLIC_LEN);
	must(lock_add(db, &lock, SIGN_NOW) == 0);
	run_sql(db, "INSERT INTO credential (idx, status, changed) VALUES (7, 0, 0), (8, 1, 1)");
	run_sql(db, "INSERT INTO issued (cti, kid, phone, person, idx, lock, scope, via, iat, exp)"
		    " VALUES (X'17171717171717171717171717171717', X'0000000000000000', 'p', 'q',"
		    " 7, 'lock-1', 'unlock', 'relay', 1799999999, 1800000060),"
		    " (X'18181818181818181818181818181818', X'0000000000000000', 'p', 'q',"
		    " 8, 'lock-1', 'unlock', 'door', 1799999999, 1800000060)");
	/* the file stays open, and is gone with this process */
	for (unsigned i = 0; i < 3; i++) {
		static const char *const ends[] = {"", "-wal", "-shm"};

		snprintf(path, sizeof(path), "%s/desk.db%s", dir, ends[i]);
		unlink(path);
	}
	rmdir(dir);
	return db;
}

static uint64_t count(struct db *db, const char *sql)
{
	cleanup(db_end) struct db_query q = db_query(db, sql);

	must(db_step(&q) > 0);
	return db_uint(&q, 0);
}

/* --- what comes --------------------------------------------------------------------------------- */

static struct stream {
	char id[STREAM_HEX];
	uint64_t seq;
	uint8_t sha[SHA256_LEN];
} streams[2];

static bool by_the_lock(const struct receipt *r, struct span bytes)
{
	struct token t;

	return token_parse(bytes, &t) == 0 && strcmp(r->lock, SIGN_LOCK) == 0 &&
	       cose_verify(&t.cose, resign_signer(6)->pub) == 0;
}

/* The same event with the number and the hash that are due; NULL: it is none. */
static char *chained(struct span text, struct stream *s)
{
	struct event e;
	char *again;

	if (event_parse(text, &e) != 0)
		return NULL;
	memcpy(e.stream, s->id, sizeof(e.stream));
	e.seq = s->seq + 1;
	memcpy(e.prev, s->sha, SHA256_LEN);
	again = e.type < EVENT_TYPES ? event_encode(&e) : NULL;
	event_deinit(&e);
	if (again) {
		s->seq++;
		crypto_sha256(span_str(again), s->sha);
	}
	return again;
}

static unsigned proofs;

static void file_one(struct db *db, unsigned who, struct span text)
{
	uint64_t before = count(db, "SELECT count(*) FROM event"), after;
	cleanup(filed_deinit) struct filed filed = {0};
	int r = event_file(db, gateways[who], text, SIGN_NOW, &filed);

	must(r >= 0);
	after = count(db, "SELECT count(*) FROM event");
	must(after == before + filed.is_new);
	must(!filed.is_new || who < 2);
	must(!filed.has_receipt || by_the_lock(&filed.receipt, filed.event.receipt));
	proofs += filed.has_receipt;
}

static void take_event(struct db *db, unsigned who, struct span text, bool chain)
{
	cleanup(freep) char *anew = chain && who < 2 ? chained(text, &streams[who]) : NULL;

	if (anew)
		text = span_str(anew);
	file_one(db, who, text);
	/* once more, as after an outage: nothing is new */
	file_one(db, who, text);
}

static void take_state(struct db *db, struct span text)
{
	static struct message_state state;
	uint64_t from = 0;

	if (message_state_parse(text, &state) != 0)
		return;
	must(gateway_put_state(db, "gw-1", text, SIGN_NOW) >= 0);
	must(stream_missing(db, "gw-1", &state, SIGN_NOW, &from) >= 0);
	must(from >= 1);
}

static void take_lock(struct db *db, struct span text)
{
	static struct message_lock state;

	if (message_lock_parse(text, &state) != 0)
		return;
	must(lock_put_state(db, SIGN_LOCK, text, SIGN_NOW) >= 0);
	must(lock_said_unowned(db, SIGN_LOCK) >= 0);
}

static void take_receipt(struct db *db, struct span bytes)
{
	struct receipt receipt;
	bool is_new;
	int r = receipt_file(db, bytes, "gw-1", SIGN_NOW, &receipt, &is_new);

	must(r >= 0 && (r == 0 || !is_new));
	must(r != 0 || by_the_lock(&receipt, bytes));
	proofs += r == 0;
}

static void give(struct db *db, struct span record, bool chain)
{
	struct span rest;

	if (record.len == 0)
		return;
	rest = span_of(record.data + 1, record.len - 1);
	switch (record.data[0] % WHATS) {
	case STATE:
		take_state(db, rest);
		return;
	case LOCK:
		take_lock(db, rest);
		return;
	case RECEIPT:
		take_receipt(db, rest);
		return;
	default:
		take_event(db, record.data[0] % WHATS, rest, chain);
		return;
	}
}

static void check(struct db *db)
{
	struct receipt newest;
	uint64_t missing, highest;

	must(proofs || count(db, "SELECT count(*) FROM issued WHERE proven <> 0") == 0);
	must(proofs || count(db, "SELECT count(*) FROM receipt") == 0);
	must(count(db, "SELECT count(*) FROM event e JOIN stream s ON e.stream = s.id"
		       " WHERE e.seq = s.whole") <= count(db, "SELECT count(*) FROM stream"));
	if (receipt_newest(db, SIGN_LOCK, &newest) == 0)
		must(newest.result.has_n);
	must(receipt_gaps(db, SIGN_LOCK, &missing, &highest) == 0 && missing <= highest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct resign_record records[RESIGN_RECORDS];
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct db *db;
	size_t n;

	if (len < RESIGN_HEAD)
		return 0;
	resign_signer(0);
	db = registry();
	memset(streams, 0, sizeof(streams));
	memset(streams[0].id, 'a', STREAM_HEX - 1);
	memset(streams[1].id, 'b', STREAM_HEX - 1);
	proofs = 0;
	n = resign_records(data, len, records);
	must(db_begin(db, &tx) == 0);
	for (size_t i = 0; i < n; i++)
		give(db, records[i].document, data[0] & 1);
	check(db);
	must(events_trim(db, SIGN_NOW + 1) == 0);
	return 0;
}

/* --- behind the signature, inside the JSON ------------------------------------------------------ */

static size_t put_record(uint8_t *data, size_t size, size_t max_size,
			 const struct resign_record *old, uint8_t what, struct span rest)
{
	uint8_t *bytes = malloc(rest.len + 1);

	must(bytes != NULL);
	bytes[0] = what;
	memcpy(bytes + 1, rest.data, rest.len);
	size = resign_replace(data, size, max_size, old, span_of(bytes, rest.len + 1));
	free(bytes);
	return size;
}

static size_t in_event(uint8_t *data, size_t size, size_t max_size, const struct resign_record *one,
		       unsigned seed)
{
	struct span text = span_of(one->document.data + 1, one->document.len - 1), receipt;
	cleanup(event_deinit) struct event e = {0};
	cleanup(freep) char *again = NULL;

	if (event_parse(text, &e) != 0 || e.type >= EVENT_TYPES || e.receipt.len == 0)
		return 0;
	receipt = resign_document(e.receipt, seed);
	if (!receipt.data)
		return 0;
	e.receipt = receipt;
	again = event_encode(&e);
	return again ? put_record(data, size, max_size, one, one->document.data[0], span_str(again))
		     : 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	struct resign_record records[RESIGN_RECORDS];
	size_t n = resign_records(data, size, records), grown = 0;
	const struct resign_record *one;
	struct span document;

	if (n == 0 || seed % 4 == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	one = &records[(seed >> 2) % n];
	if (seed % 4 == 1 || one->document.len == 0)
		return resign_repeat(data, size, max_size, one);
	if (one->document.data[0] % WHATS == RECEIPT) {
		document = resign_document(span_of(one->document.data + 1, one->document.len - 1),
					   seed >> 8);
		if (document.data)
			grown = put_record(data, size, max_size, one, RECEIPT, document);
	} else {
		grown = in_event(data, size, max_size, one, seed >> 8);
	}
	sign_forget();
	return grown ? grown : LLVMFuzzerMutate(data, size, max_size);
}
