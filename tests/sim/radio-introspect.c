/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Introspection, for busctl and the curious: any path above an object can be asked too.
 */
#include "sim/radio.h"

#include <errno.h>

static void describe_args(FILE *f, const char *sigs, const char *direction)
{
	for (const char *s = sigs; s && *s;) {
		size_t n = strspn(s, "a"), depth = 0;

		do {
			depth += s[n] == '{' || s[n] == '(';
			depth -= s[n] == '}' || s[n] == ')';
			n++;
		} while (depth && s[n]);
		fprintf(f, "<arg type=\"%.*s\" direction=\"%s\"/>", (int)n, s, direction);
		s += n;
	}
}

static void describe_interface(FILE *f, const struct interface *iface)
{
	fprintf(f, "<interface name=\"%s\">", iface->name);
	for (const struct method *x = iface->methods; x && x->name; x++) {
		fprintf(f, "<method name=\"%s\">", x->name);
		describe_args(f, x->in, "in");
		describe_args(f, x->out, "out");
		fprintf(f, "</method>");
	}
	for (const struct property *p = iface->properties; p && p->name; p++)
		fprintf(f, "<property name=\"%s\" type=\"%s\" access=\"%s\"/>", p->name, p->sig,
			p->set ? "readwrite" : "read");
	fprintf(f, "</interface>");
}

static void describe_children(FILE *f, struct radio *r, const char *path)
{
	size_t len = path[1] ? strlen(path) : 0, seen_len = 0;
	const char *seen = NULL;
	struct object *o;

	for (each(o, &r->objects)) {
		const char *rest = o->path + len;
		size_t n;

		if (strncmp(o->path, path, len) || rest[0] != '/' || !rest[1])
			continue;
		n = strcspn(++rest, "/");
		if (seen && n == seen_len && !strncmp(seen, rest, n))
			continue;
		seen = rest;
		seen_len = n;
		fprintf(f, "<node name=\"%.*s\"/>", (int)n, rest);
	}
}

int object_introspect(struct radio *r, struct object *o, sd_bus_message *m)
{
	cleanup(freep) char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int rc;

	if (!f)
		return -ENOMEM;
	fprintf(f,
		"<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\" "
		"\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>");
	for (size_t i = 0; o && i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++)
		describe_interface(f, o->ifaces[i]);
	describe_children(f, r, sd_bus_message_get_path(m));
	fprintf(f, "</node>");
	rc = fclose(f);
	return rc ? -ENOMEM : sd_bus_reply_method_return(m, "s", text);
}
