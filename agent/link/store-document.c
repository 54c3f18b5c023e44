// SPDX-License-Identifier: Apache-2.0
/* Documents: one per slot, each under a checksum, all of them under the manifest. */
#include <errno.h>

#include "link/store-rows.h"

static void document_sum(const char *slot, uint64_t order, struct span document, struct span under,
			 uint8_t ret[static ROW_SUM_LEN])
{
	uint8_t buf[8];
	const struct span fields[] = {span_str(slot), row_number(order, buf), document, under};

	row_sum(ROW_DOCUMENT, fields, ARRAY_SIZE(fields), ret);
}

static int write_document(struct db *db, const char *slot, int order, struct span document,
			  struct span under)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "INSERT OR REPLACE INTO document(slot, ord, content, under, sum)"
			     " VALUES(?, ?, ?, ?, ?)");
	uint8_t sum[ROW_SUM_LEN];

	document_sum(slot, (uint64_t)order, document, under, sum);
	db_bind_text(&q, slot);
	db_bind_int(&q, order);
	db_bind_blob(&q, document.len ? document : span_of("", 0));
	db_bind_blob(&q, under.len ? under : span_of("", 0));
	db_bind_blob(&q, SPAN(sum));
	return db_run(&q);
}

int store_put_document(struct store *s, const char *slot, int order, struct span document,
		       struct span under)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(s->db, &tx);

	if (r == 0)
		r = write_document(s->db, slot, order, document, under);
	return r == 0 ? store_seal(s, &tx) : r;
}

int store_delete_document(struct store *s, const char *slot)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(db_end) struct db_query q = db_query(s->db, "DELETE FROM document WHERE slot = ?");
	int r = db_begin(s->db, &tx);

	if (r < 0)
		return r;
	db_bind_text(&q, slot);
	r = db_run(&q);
	if (r == 0 && db_changes(s->db) == 0)
		r = -ENOENT;
	return r == 0 ? store_seal(s, &tx) : r;
}

int store_delete_documents(struct store *s, const char *prefix)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(db_end) struct db_query q =
		db_query(s->db, "DELETE FROM document WHERE substr(slot, 1, ?) = ?");
	int r = db_begin(s->db, &tx);

	db_bind_int(&q, (int64_t)strlen(prefix));
	db_bind_text(&q, prefix);
	if (r == 0)
		r = db_run(&q);
	return r == 0 ? store_seal(s, &tx) : r;
}

int store_each_document(struct store *s, store_document_fn fn, void *user)
{
	return store_each_document_of(s, "", fn, user);
}

int store_each_document_of(struct store *s, const char *prefix, store_document_fn fn, void *user)
{
	cleanup(db_end) struct db_query q =
		db_query(s->db, "SELECT slot, ord, content, under, sum FROM document"
				" WHERE substr(slot, 1, ?) = ? ORDER BY ord, slot");
	bool damaged = false;
	int r;

	db_bind_int(&q, (int64_t)strlen(prefix));
	db_bind_text(&q, prefix);
	while ((r = db_step(&q)) > 0) {
		struct span document = db_blob(&q, 2), under = db_blob(&q, 3);
		const char *slot = db_text(&q, 0);
		uint8_t sum[ROW_SUM_LEN];

		document_sum(slot, (uint64_t)db_int(&q, 1), document, under, sum);
		if (!span_equal(db_blob(&q, 4), SPAN(sum))) {
			db_damaged(s->db, "the document in \"%s\"", slot);
			damaged = true;
			continue;
		}
		r = fn(slot, document, under, user);
		if (r < 0)
			return r;
	}
	if (r < 0 || damaged)
		return r < 0 ? r : -EBADMSG;
	return store_check_manifest(s->db);
}

int store_check_documents(struct db *db)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT slot, ord, content, under, sum FROM document");
	int r;

	while ((r = db_step(&q)) > 0) {
		uint8_t sum[ROW_SUM_LEN];

		document_sum(db_text(&q, 0), (uint64_t)db_int(&q, 1), db_blob(&q, 2),
			     db_blob(&q, 3), sum);
		if (!span_equal(db_blob(&q, 4), SPAN(sum)))
			return db_damaged(db, "the document in \"%s\"", db_text(&q, 0));
	}
	return r;
}
