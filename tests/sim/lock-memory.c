// SPDX-License-Identifier: Apache-2.0
/*
 * A lock's flash: three files in a folder of its own. "key.pem" is made once; "memory" (CBOR,
 * closed by its SHA-256) holds counters, owner, what the motor was doing and the kept receipts;
 * "documents" holds the documents in force, which are verified again when read back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pem.h"
#include "sim/lock.h"

#define MEMORY_CAP    (LOCK_RECEIPTS * (TOKEN_SMALL_MAX + 16) + 1024)
#define DOCUMENTS_CAP (4 << 20)

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static int sync_folder(const char *dir)
{
	cleanup(closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int write_all(int fd, struct span bytes)
{
	while (bytes.len) {
		ssize_t n = write(fd, bytes.data, bytes.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes = span_of(bytes.data + n, bytes.len - (size_t)n);
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* Replaces dir/name whole: there is the old one or the new one, never a part. */
static int put_file(const char *dir, const char *name, struct span bytes)
{
	char path[512], part[520];
	cleanup(closep) int fd = -1;
	int r;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(part, sizeof(part), "%s.part", path);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes);
	if (r < 0)
		return r;
	if (rename(part, path) < 0)
		return -errno;
	return sync_folder(dir);
}

/* The whole file, malloc'd; -ENOENT, -EFBIG. */
static int get_file(const char *dir, const char *name, size_t max, uint8_t **ret, size_t *ret_len)
{
	char path[512];
	cleanup(closep) int fd = -1;
	cleanup(freep) uint8_t *buf = NULL;
	size_t len = 0;
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return -ENOMEM;
	while (len < (size_t)st.st_size) {
		ssize_t n = read(fd, buf + len, (size_t)st.st_size - len);

		if (n < 0)
			return -errno;
		if (n == 0)
			return -EBADMSG;
		len += (size_t)n;
	}
	*ret = steal(buf);
	*ret_len = len;
	return 0;
}

/* Behind the content stands its SHA-256: a flipped bit is damage, not another truth. */
static int put_sealed(const char *dir, const char *name, struct cbor_writer *w)
{
	if (w->failed || w->len + SHA256_LEN > w->cap)
		return -ENOSPC;
	crypto_sha256(span_of(w->buf, w->len), w->buf + w->len);
	return put_file(dir, name, span_of(w->buf, w->len + SHA256_LEN));
}

static int get_sealed(const char *dir, const char *name, size_t max, uint8_t **ret, size_t *ret_len)
{
	cleanup(freep) uint8_t *buf = NULL;
	uint8_t hash[SHA256_LEN];
	size_t len;
	int r = get_file(dir, name, max, &buf, &len);

	if (r < 0)
		return r;
	if (len < SHA256_LEN)
		return -EBADMSG;
	len -= SHA256_LEN;
	crypto_sha256(span_of(buf, len), hash);
	if (memcmp(hash, buf + len, SHA256_LEN) != 0)
		return -EBADMSG;
	*ret = steal(buf);
	*ret_len = len;
	return 0;
}

static int read_key(const char *dir, struct signer *ret)
{
	cleanup(freep) uint8_t *pem = NULL;
	char text[PEM_PRIVATE_CAP];
	size_t len;
	int r = get_file(dir, "key.pem", 4096, &pem, &len);

	if (r == 0)
		return pem_parse_private(span_of(pem, len), ret) < 0 ? -EBADMSG : 0;
	if (r != -ENOENT)
		return r;
	signer_generate(ret);
	r = pem_encode_private(ret, text);
	return put_file(dir, "key.pem", span_of(text, (size_t)r));
}

static void put_open(struct cbor_writer *w, const struct lock_open *open)
{
	if (!open->present) {
		cbor_put_null(w);
		return;
	}
	cbor_put_array(w, 4);
	cbor_put_uint(w, open->n);
	cbor_put_bytes(w, SPAN(open->cti));
	cbor_put_uint(w, open->via);
	cbor_put_uint(w, open->scope);
}

static void get_open(struct cbor_reader *r, struct lock_open *ret)
{
	struct span cti;

	if (cbor_peek(r) == CBOR_NULL) {
		cbor_null(r);
		return;
	}
	if (cbor_enter_array(r) != 4)
		cbor_fail(r);
	ret->n = cbor_uint(r);
	cti = cbor_bytes(r);
	if (cti.len == CTI_LEN)
		memcpy(ret->cti, cti.data, CTI_LEN);
	else
		cbor_fail(r);
	ret->via = cbor_uint(r);
	ret->scope = cbor_uint(r);
	cbor_leave(r);
	ret->present = true;
}

int lock_memory_put(const char *dir, const struct lock_memory *m)
{
	cleanup(freep) uint8_t *buf = malloc(MEMORY_CAP);
	struct cbor_writer w;
	size_t i, kept = 0;

	if (!buf)
		return -ENOMEM;
	cbor_writer_init(&w, buf, MEMORY_CAP);
	cbor_put_array(&w, 9);
	cbor_put_uint(&w, m->boot);
	cbor_put_uint(&w, m->n);
	cbor_put_uint(&w, m->floor);
	if (m->owned)
		cbor_put_bytes(&w, SPAN(m->owner.pub));
	else
		cbor_put_null(&w);
	cbor_put_uint(&w, m->claimed);
	cbor_put_uint(&w, m->bolt);
	cbor_put_uint(&w, m->battery);
	put_open(&w, &m->open);
	for (i = 0; i < LOCK_RECEIPTS; i++)
		kept += m->receipts[i].n != 0;
	cbor_put_array(&w, 2 * kept);
	for (i = 0; i < LOCK_RECEIPTS; i++) {
		if (!m->receipts[i].n)
			continue;
		cbor_put_uint(&w, m->receipts[i].n);
		cbor_put_bytes(&w, span_of(m->receipts[i].bytes, m->receipts[i].len));
	}
	return put_sealed(dir, "memory", &w);
}

static void get_receipts(struct cbor_reader *r, struct lock_memory *m)
{
	size_t items = cbor_enter_array(r);

	for (; items >= 2 && !r->failed; items -= 2) {
		uint64_t n = cbor_uint(r);
		struct span bytes = cbor_bytes(r);
		struct lock_receipt *slot = &m->receipts[n % LOCK_RECEIPTS];

		if (bytes.len > sizeof(slot->bytes)) {
			cbor_fail(r);
			return;
		}
		slot->n = n;
		slot->len = (uint16_t)bytes.len;
		memcpy(slot->bytes, bytes.data, bytes.len);
	}
	cbor_leave(r);
}

static int parse_memory(struct span bytes, struct lock_memory *m)
{
	struct cbor_reader r;

	cbor_reader_init(&r, bytes);
	if (cbor_enter_array(&r) != 9)
		return -EBADMSG;
	m->boot = cbor_uint(&r);
	m->n = cbor_uint(&r);
	m->floor = cbor_uint(&r);
	if (cbor_peek(&r) == CBOR_NULL) {
		cbor_null(&r);
	} else {
		struct span pub = cbor_bytes(&r);

		if (pub.len != PUBLIC_LEN)
			return -EBADMSG;
		key_init(&m->owner, pub.data, ROLE_ROOT);
		m->owned = true;
	}
	m->claimed = cbor_uint(&r);
	m->bolt = cbor_uint(&r);
	m->battery = (uint8_t)cbor_uint(&r);
	get_open(&r, &m->open);
	get_receipts(&r, m);
	cbor_leave(&r);
	return cbor_done(&r) ? 0 : -EBADMSG;
}

int lock_memory_open(const char *dir, struct lock_memory *ret)
{
	cleanup(freep) uint8_t *buf = NULL;
	size_t len;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	r = read_key(dir, &ret->key);
	if (r < 0)
		return r;
	r = get_sealed(dir, "memory", MEMORY_CAP, &buf, &len);
	if (r == -ENOENT) {
		ret->bolt = BOLT_LOCKED;
		ret->battery = 100;
		return 0;
	}
	return r < 0 ? r : parse_memory(span_of(buf, len), ret);
}

/* trust has the owner's root by now. */
static void get_anchor(struct cbor_reader *r, struct trust *trust)
{
	struct span pub = cbor_bytes(r);
	struct key anchor;

	if (pub.len != PUBLIC_LEN || !trust->anchored)
		return;
	key_init(&anchor, pub.data, ROLE_ROOT);
	trust_anchor(trust, &anchor);
}

static void put_held(struct cbor_writer *w, const struct held *held)
{
	cbor_put_array(w, held->under ? 3 : 1);
	cbor_put_bytes(w, span_of(held->document, held->len));
	if (!held->under)
		return;
	cbor_put_bytes(w, span_of(held->under, held->under_len));
	cbor_put_bytes(w, SPAN(held->under_pub));
}

int lock_documents_put(const char *dir, const struct trust *trust)
{
	cleanup(freep) uint8_t *buf = malloc(DOCUMENTS_CAP);
	bool policy = trust->policy_held.document;
	struct cbor_writer w;
	size_t i;

	if (!buf)
		return -ENOMEM;
	cbor_writer_init(&w, buf, DOCUMENTS_CAP);
	cbor_put_array(&w, 1 + trust->nchain + policy + trust->nlists);
	/* A chain that grew too long begins with another root than the one that claimed. */
	cbor_put_bytes(&w, trust->anchored ? SPAN(trust->anchor.pub) : span_of("", 0));
	for (i = 0; i < trust->nchain; i++)
		put_held(&w, &trust->chain[i]);
	if (policy)
		put_held(&w, &trust->policy_held);
	for (i = 0; i < trust->nlists; i++)
		put_held(&w, &trust->lists[i].held);
	return put_sealed(dir, "documents", &w);
}

int lock_documents_get(const char *dir, struct trust *trust)
{
	cleanup(freep) uint8_t *buf = NULL;
	struct cbor_reader r;
	size_t len, n, parts;
	int e;

	e = get_sealed(dir, "documents", DOCUMENTS_CAP, &buf, &len);
	if (e < 0)
		return e == -ENOENT ? 0 : e;
	cbor_reader_init(&r, span_of(buf, len));
	n = cbor_enter_array(&r);
	if (n)
		get_anchor(&r, trust);
	for (; n > 1 && !r.failed; n--) {
		struct span document, under = {0}, root = {0};
		struct trust_change change;

		parts = cbor_enter_array(&r);
		document = cbor_bytes(&r);
		if (parts == 3) {
			under = cbor_bytes(&r);
			root = cbor_bytes(&r);
		}
		cbor_leave(&r);
		if (root.len == PUBLIC_LEN)
			trust_restore_former(trust, root.data);
		if (r.failed || trust_restore(trust, document, under, &change) != 0)
			return -EBADMSG;
	}
	cbor_leave(&r);
	return cbor_done(&r) ? 0 : -EBADMSG;
}
