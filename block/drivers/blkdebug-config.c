/* SPDX-License-Identifier: MIT */
/*
 * The configuration file of blkdebug:
 *
 *     # a comment
 *     [inject-error]
 *     event = "l2_load"
 *     errno = "5"
 *     [set-state "name"]
 *     ...
 *
 * It is as lenient as QEMU's: a line that is neither a section nor KEY = "VALUE" is a key
 * with an empty value, and what follows the closing quote or bracket is not looked at. So
 * the mistake shows when somebody asks for the key.
 */
#include "blkdebug.h"

/* Bounds of what a file may cost. */
enum {
    MAX_CONFIG_BYTES = 1 << 20,
    MAX_NAME = 63,
    MAX_VALUE = 1023,
};

static void section_free(void *opaque)
{
    BlkdebugSection *section = opaque;

    g_free(section->name);
    g_free(section->id);
    blk_options_free(section->keys);
    g_free(section);
}

static const char *skip_blanks(const char *p)
{
    while (g_ascii_isspace(*p)) {
        p++;
    }
    return p;
}

/* The word at @p, at most MAX_NAME long; *@end is behind it. Empty: NULL. */
static char *take_word(const char *p, const char **end)
{
    size_t n = 0;

    while (p[n] && !g_ascii_isspace(p[n]) && n < MAX_NAME) {
        n++;
    }
    *end = p + n;
    return n ? g_strndup(p, n) : NULL;
}

/* A quoted string of 1 to @max bytes at @p; NULL: there is none. */
static char *take_quoted(const char *p, size_t max)
{
    size_t n = *p == '"' ? strcspn(p + 1, "\"") : 0;

    return n ? g_strndup(p + 1, MIN(n, max)) : NULL;
}

static bool id_wellformed(const char *id)
{
    if (!g_ascii_isalpha(*id)) {
        return false;
    }
    while (g_ascii_isalnum(*id) || (*id && strchr("-._", *id))) {
        id++;
    }
    return !*id;
}

static int check_section(const GPtrArray *sections, const BlkdebugSection *section,
                         Error **errp)
{
    ERRP_GUARD();

    if (strcmp(section->name, "inject-error") && strcmp(section->name, "set-state")) {
        error_setg(errp, "There is no option group '%s'", section->name);
        return -EINVAL;
    }
    if (!section->id) {
        return 0;
    }
    if (!id_wellformed(section->id)) {
        error_setg(errp, "Parameter 'id' expects an identifier");
        error_append_hint(errp, "Identifiers consist of letters, digits, "
                                "'-', '.', '_', starting with a letter.\n");
        return -EINVAL;
    }
    for (guint i = 0; i < sections->len; i++) {
        const BlkdebugSection *other = g_ptr_array_index(sections, i);

        if (!strcmp(other->name, section->name) && !g_strcmp0(other->id, section->id)) {
            error_setg(errp, "Duplicate ID '%s' for %s", section->id, section->name);
            return -EINVAL;
        }
    }
    return 0;
}

/* @line begins with a bracket. 1: it was a section; 0: it is something else; -errno. */
static int parse_section(const char *line, GPtrArray *sections, Error **errp)
{
    g_autofree char *word = NULL;
    const char *end;
    BlkdebugSection *section;
    size_t len;
    int ret;

    word = take_word(line + 1, &end);
    section = g_new0(BlkdebugSection, 1);
    section->keys = blk_options_new();
    section->id = word ? take_quoted(skip_blanks(end), MAX_NAME) : NULL;
    if (section->id) {
        section->name = g_steal_pointer(&word);
    } else {
        len = strcspn(line + 1, "]");
        if (!len) {
            section_free(section);
            return 0;
        }
        section->name = g_strndup(line + 1, MIN(len, (size_t)MAX_NAME));
    }
    ret = check_section(sections, section, errp);
    if (ret < 0) {
        section_free(section);
        return ret;
    }
    g_ptr_array_add(sections, section);
    return 1;
}

static int parse_key(const char *line, GPtrArray *sections, Error **errp)
{
    g_autofree char *key = NULL, *value = NULL;
    BlkdebugSection *section;
    const char *p;

    key = take_word(skip_blanks(line), &p);
    if (!key) {
        error_setg(errp, "parse error");
        return -EINVAL;
    }
    if (!sections->len) {
        error_setg(errp, "no group defined");
        return -EINVAL;
    }
    p = skip_blanks(p);
    if (*p == '=') {
        value = take_quoted(skip_blanks(p + 1), MAX_VALUE);
    }
    section = g_ptr_array_index(sections, sections->len - 1);
    blk_options_set(section->keys, key, value ? value : "");
    return 0;
}

static int parse_line(const char *line, GPtrArray *sections, Error **errp)
{
    int ret = 0;

    if (*line == '#' || *line == '\n' || !*line) {
        return 0;
    }
    if (*line == '[') {
        ret = parse_section(line, sections, errp);
    }
    return ret == 0 ? parse_key(line, sections, errp) : MIN(ret, 0);
}

static char *read_file(const char *filename, int *ret, Error **errp)
{
    g_autoptr(GString) text = g_string_new(NULL);
    FILE *f = fopen(filename, "re");
    char buf[4096];
    size_t n;

    if (!f) {
        *ret = -errno;
        error_setg_errno(errp, errno, "Could not read blkdebug config file");
        return NULL;
    }
    while (text->len <= MAX_CONFIG_BYTES && (n = fread(buf, 1, sizeof(buf), f)) > 0) {
        g_string_append_len(text, buf, n);
    }
    *ret = ferror(f) ? -errno : 0;
    fclose(f);
    if (*ret < 0) {
        error_setg_errno(errp, -*ret, "Cannot read config file");
        return NULL;
    }
    if (text->len > MAX_CONFIG_BYTES) {
        *ret = -EFBIG;
        error_setg(errp, "The blkdebug config file is larger than %d bytes",
                   MAX_CONFIG_BYTES);
        return NULL;
    }
    /* Rules behind it would be lost in silence. */
    if (memchr(text->str, 0, text->len)) {
        *ret = -EINVAL;
        error_setg(errp, "Could not parse blkdebug config file: there is a byte 0 at offset %zu",
                   strlen(text->str));
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), false);
}

GPtrArray *blkdebug_read_config(const char *filename, int *ret, Error **errp)
{
    g_autofree char *text = read_file(filename, ret, errp);
    g_autoptr(GPtrArray) sections = NULL;

    if (!text) {
        return NULL;
    }
    sections = g_ptr_array_new_with_free_func(section_free);
    for (const char *p = text; *p;) {
        const char *end = strchr(p, '\n');
        size_t len = end ? (size_t)(end - p) + 1 : strlen(p);
        g_autofree char *line = g_strndup(p, len);

        *ret = parse_line(line, sections, errp);
        if (*ret < 0) {
            return NULL;
        }
        p += len;
    }
    return g_steal_pointer(&sections);
}
