/* SPDX-License-Identifier: MIT */
/*
 * BlockOptions from JSON, as QEMU takes it: strings stand in double or single quotes, there
 * are no comments, keys come once. The messages are QEMU's, and so is which of several
 * mistakes is told: first the text is cut into tokens up to the end of the value, then these
 * are looked at, then what follows.
 *
 * The text may be a stranger's: its length, the number of tokens and the depth are bounded.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "options-internal.h"

enum { MAX_TOKENS = 1 << 16 };

typedef enum TokenType {
    TOKEN_STRING = 's', /* with its quotes and escapes */
    TOKEN_INTEGER = 'i',
    TOKEN_FLOAT = 'f',
    TOKEN_KEYWORD = 'k',
    /* and the punctuation characters stand for themselves */
} TokenType;

typedef struct Token {
    int type;
    const char *text;
    size_t len;
} Token;

typedef struct Reader {
    GArray *tokens; /* of Token, pointing into the caller's text */
    guint next;
    BlockOptions *opts;
    Error **errp;
} Reader;

/* --- cutting into tokens --- */

static size_t digits(const char *p)
{
    return strspn(p, "0123456789");
}

/* The length of the number at @p; 0 when it goes wrong, *@len then tells where. */
static bool lex_number(const char *p, Token *t)
{
    const char *start = p;

    t->type = TOKEN_INTEGER;
    p += *p == '-';
    if (!digits(p) || (*p == '0' && digits(p + 1))) {
        t->len = p - start + (*p == '0' ? 2 : *p != 0);
        return false;
    }
    p += digits(p);
    if (*p == '.') {
        t->type = TOKEN_FLOAT;
        p++;
        if (!digits(p)) {
            t->len = p - start + (*p != 0);
            return false;
        }
        p += digits(p);
    }
    if (*p == 'e' || *p == 'E') {
        t->type = TOKEN_FLOAT;
        p++;
        p += *p == '+' || *p == '-';
        if (!digits(p)) {
            t->len = p - start + (*p != 0);
            return false;
        }
        p += digits(p);
    }
    t->len = p - start;
    return true;
}

static bool lex_string(const char *p, Token *t)
{
    const char *start = p;
    char quote = *p++;

    t->type = TOKEN_STRING;
    for (bool escaped = false;; p++) {
        unsigned char c = *p;

        if (c < 0x20 || c > 0xfd) {
            t->len = p - start + (c != 0);
            return false;
        }
        if (escaped) {
            escaped = false;
        } else if (c == '\\') {
            escaped = true;
        } else if (c == (unsigned char)quote) {
            t->len = p + 1 - start;
            return true;
        }
    }
}

/* The token at @p, which is not the end. False when there is none; @t then is what could not be read. */
static bool lex(const char *p, Token *t)
{
    *t = (Token){ .type = *p, .text = p, .len = 1 };
    if (strchr("{}[],:", *p)) {
        return true;
    }
    if (*p == '-' || g_ascii_isdigit(*p)) {
        return lex_number(p, t);
    }
    if (*p == '"' || *p == '\'') {
        return lex_string(p, t);
    }
    if (g_ascii_islower(*p)) {
        t->type = TOKEN_KEYWORD;
        t->len = strspn(p, "abcdefghijklmnopqrstuvwxyz");
        return true;
    }
    return false;
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* Reads tokens up to the end of the first value; what follows it. NULL and @errp on failure. */
static const char *lex_value(GArray *tokens, const char *p, Error **errp)
{
    int braces = 0, brackets = 0;

    for (p = skip_blanks(p); *p; p = skip_blanks(p)) {
        Token t;

        if (!lex(p, &t)) {
            g_autofree char *stray = g_strndup(t.text, t.len);

            error_setg(errp, "JSON parse error, stray '%s'", stray);
            return NULL;
        }
        if (tokens->len >= MAX_TOKENS) {
            error_setg(errp, "JSON token count limit exceeded");
            return NULL;
        }
        g_array_append_val(tokens, t);
        p += t.len;
        braces += (t.type == '{') - (t.type == '}');
        brackets += (t.type == '[') - (t.type == ']');
        if (braces < 0 || brackets < 0 || (braces == 0 && brackets == 0)) {
            break;
        }
        if (braces + brackets > OPTIONS_MAX_DEPTH) {
            error_setg(errp, "JSON nesting depth limit exceeded");
            return NULL;
        }
    }
    return skip_blanks(p);
}

/* --- making sense of them --- */

/* The next token, which stays there; NULL and a message at the end. */
static const Token *peek(Reader *r)
{
    if (r->next < r->tokens->len) {
        return &g_array_index(r->tokens, Token, r->next);
    }
    error_setg(r->errp, "JSON parse error, premature EOI");
    return NULL;
}

static int hex4(const char *p, const char *end)
{
    int value = 0;

    for (int i = 0; i < 4; i++) {
        int digit = p + i < end ? g_ascii_xdigit_value(p[i]) : -1;

        if (digit < 0) {
            return -1;
        }
        value = value << 4 | digit;
    }
    return value;
}

/* "\uXXXX" or a pair of them at @p; how far it reaches, 0 when it is no character. */
static size_t take_unicode(const char *p, const char *end, GString *to)
{
    int c = hex4(p + 2, end);
    size_t used = 6;

    if (c >= 0xd800 && c <= 0xdbff && end - p > 8 && p[6] == '\\' && p[7] == 'u') {
        int low = hex4(p + 8, end);

        if (low >= 0xdc00 && low <= 0xdfff) {
            c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
            used = 12;
        }
    }
    if (c <= 0 || (c >= 0xd800 && c <= 0xdfff)) { /* a zero byte ends our strings */
        return 0;
    }
    g_string_append_unichar(to, c);
    return used;
}

/* What an escape sequence of one letter stands for; 0: it is none. */
static char simple_escape(char c)
{
    switch (c) {
    case '"':
    case '\'':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

/* The contents of a string token; NULL and a message when it is none. */
static char *string_value(Reader *r, const Token *t)
{
    g_autoptr(GString) s = g_string_new(NULL);
    const char *p = t->text + 1, *end = t->text + t->len - 1;

    while (p < end) {
        if (*p != '\\') {
            g_string_append_c(s, *p++);
        } else if (p[1] == 'u') {
            size_t used = take_unicode(p, end, s);

            if (!used) {
                g_autofree char *what = g_strndup(p, MIN(end + 1 - p, 6));

                error_setg(r->errp, "JSON parse error, %s is not a valid Unicode character", what);
                return NULL;
            }
            p += used;
        } else {
            char c = simple_escape(p[1]);

            if (!c) {
                error_setg(r->errp, "JSON parse error, invalid escape sequence in string");
                return NULL;
            }
            g_string_append_c(s, c);
            p += 2;
        }
    }
    if (!g_utf8_validate(s->str, s->len, NULL)) {
        error_setg(r->errp, "JSON parse error, invalid UTF-8 sequence in string");
        return NULL;
    }
    return g_strdup(s->str);
}

static bool set_leaf(Reader *r, const char *key, const char *value, ValueKind kind)
{
    if (blk_options_count(r->opts) >= OPTIONS_MAX_ENTRIES) {
        error_setg(r->errp, "More than %d options", OPTIONS_MAX_ENTRIES);
        return false;
    }
    options_set_kind(r->opts, key, value, kind);
    return true;
}

static bool set_number(Reader *r, const char *key, const Token *t)
{
    g_autofree char *text = g_strndup(t->text, t->len);
    g_autofree char *plain = NULL;
    int64_t i;
    uint64_t u;

    if (t->type == TOKEN_INTEGER && qemu_strtoi64(text, NULL, 10, &i) == 0) {
        plain = g_strdup_printf("%" PRId64, i);
    } else if (t->type == TOKEN_INTEGER && *text != '-' &&
               qemu_strtou64(text, NULL, 10, &u) == 0) {
        plain = g_strdup_printf("%" PRIu64, u);
    } else {
        char buf[G_ASCII_DTOSTR_BUF_SIZE];

        plain = g_strdup(g_ascii_formatd(buf, sizeof(buf), "%.17g", g_ascii_strtod(text, NULL)));
    }
    return set_leaf(r, key, plain, VALUE_LITERAL);
}

static bool set_keyword(Reader *r, const char *key, const Token *t)
{
    g_autofree char *word = g_strndup(t->text, t->len);

    if (!strcmp(word, "true") || !strcmp(word, "false")) {
        return set_leaf(r, key, word, VALUE_LITERAL);
    }
    if (!strcmp(word, "null")) {
        return set_leaf(r, key, word, VALUE_NONE);
    }
    error_setg(r->errp, "JSON parse error, invalid keyword '%s'", word);
    return false;
}

static bool parse_value(Reader *r, const char *key);

/* @parent NULL: the top, which has no key. An empty key is one. */
static char *join(const char *parent, const char *name)
{
    return parent ? g_strdup_printf("%s.%s", parent, name) : g_strdup(name);
}

/* The key of a member. NULL and a message when there is none. */
static char *parse_key(Reader *r)
{
    const Token *t = peek(r);

    if (t && t->type == TOKEN_STRING) {
        r->next++;
        return string_value(r, t);
    }
    if (t) {
        /* A value that can be read is no key; another one has a message of its own. */
        g_autoptr(BlockOptions) scratch = blk_options_new();
        BlockOptions *opts = r->opts;
        bool ok;

        r->opts = scratch;
        ok = parse_value(r, "");
        r->opts = opts;
        if (ok) {
            error_setg(r->errp, "JSON parse error, key is not a string in object");
        }
    }
    return NULL;
}

static bool parse_member(Reader *r, const char *parent, GHashTable *seen)
{
    char *name = parse_key(r);
    const Token *t;

    if (!name) {
        return false;
    }
    g_autofree char *key = join(parent, name);
    bool fresh = g_hash_table_add(seen, name);

    t = peek(r);
    if (!t) {
        return false;
    }
    if (t->type != ':') {
        error_setg(r->errp, "JSON parse error, missing : in object pair");
        return false;
    }
    r->next++;
    if (!parse_value(r, key)) {
        return false;
    }
    if (!fresh) {
        error_setg(r->errp, "JSON parse error, duplicate key");
    }
    return fresh;
}

/* Behind the opening bracket: the members up to and with the closing one. */
static bool parse_members(Reader *r, const char *key, bool object)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    int end = object ? '}' : ']';
    const Token *t = peek(r);

    if (t && t->type == end) {
        r->next++;
        /* At the top there is nothing that could be set. */
        return !key || set_leaf(r, key, object ? "{}" : "[]", VALUE_NONE);
    }
    for (size_t i = 0; t; i++) {
        g_autofree char *index = g_strdup_printf("%zu", i);
        g_autofree char *item = join(key, index);

        if (object ? !parse_member(r, key, seen) : !parse_value(r, item)) {
            return false;
        }
        t = peek(r);
        if (!t) {
            return false;
        }
        r->next++;
        if (t->type == end) {
            return true;
        }
        if (t->type != ',') {
            error_setg(r->errp, "JSON parse error, expected separator in %s",
                       object ? "dict" : "list");
            return false;
        }
    }
    return false;
}

/* A value and all that is in it, under @key (NULL: at the top). lex_value() has bounded the depth. */
static bool parse_value(Reader *r, const char *key)
{
    const Token *t = peek(r);
    const char *leaf = key ?: ""; /* refused in the end if it is the top */

    if (!t) {
        return false;
    }
    r->next++;
    switch (t->type) {
    case '{':
    case '[':
        return parse_members(r, key, t->type == '{');
    case TOKEN_STRING: {
        g_autofree char *value = string_value(r, t);

        return value && set_leaf(r, leaf, value, VALUE_STRING);
    }
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
        return set_number(r, leaf, t);
    case TOKEN_KEYWORD:
        return set_keyword(r, leaf, t);
    default:
        error_setg(r->errp, "JSON parse error, expecting value");
        return false;
    }
}

bool blk_options_parse_json(BlockOptions *opts, const char *json, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(BlockOptions) fresh = blk_options_new();
    g_autoptr(GArray) tokens = g_array_new(false, false, sizeof(Token));
    Reader r = { tokens, 0, fresh, errp };
    const char *rest;
    bool ok;

    if (strlen(json) > OPTIONS_MAX_JSON_BYTES) {
        error_setg(errp, "Could not parse the JSON options: longer than %d bytes",
                   OPTIONS_MAX_JSON_BYTES);
        return false;
    }
    rest = lex_value(tokens, json, errp);
    ok = rest && (tokens->len == 0 || parse_value(&r, NULL));
    if (ok && tokens->len == 0) {
        error_setg(errp, "Expecting a JSON value");
        ok = false;
    } else if (ok && *rest) {
        error_setg(errp, "Expecting at most one JSON value");
        ok = false;
    }
    if (!ok) {
        error_prepend(errp, "Could not parse the JSON options: ");
        return false;
    }
    if (g_array_index(tokens, Token, 0).type != '{') {
        error_setg(errp, "Invalid JSON object given");
        return false;
    }
    blk_options_merge(opts, fresh, true);
    return true;
}
