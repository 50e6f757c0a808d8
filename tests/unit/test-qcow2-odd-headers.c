/* SPDX-License-Identifier: MIT */
/*
 * Headers with no room to spare, with extensions in odd places, and headers that somebody changes
 * behind the back of an open image: what writes the header anew says so and leaves it as it was, or
 * keeps every extension that it does not know.
 */
#include "qemu/osdep.h"
#include "block/block-backend.h"
#include "block/block-driver.h"
#include "block/block-image.h"
#include "block/dirty-bitmap.h"
#include "block/sim.h"
#include "../../block/qcow2/qcow2-format.h"
#include "../../block/qcow2/qcow2-header.h"
#include "qemu/main-loop.h"

#define AT(field) offsetof(Qcow2DiskHeader, field)
#define LENGTH    112 /* of the header that create writes */
#define UNKNOWN   0x12345678
#define FLAGS     (BDRV_O_RDWR | BDRV_O_NO_BACKING)

typedef struct World {
    SimPower *power;
    SimDisk *disk;
    uint32_t cluster;
    size_t at; /* where the next extension goes */
} World;

static World new_image(uint32_t cluster, const char *options)
{
    World w = { .power = sim_power_new(1), .cluster = cluster, .at = LENGTH };
    g_autofree char *all = g_strdup_printf("size=1M,cluster_size=%u,%s", cluster, options);
    g_autofree uint8_t *zeroes = g_malloc0(cluster);

    w.disk = sim_disk_new(w.power, NULL, 0, &error_abort);
    g_assert_cmpint(sim_disk_create(w.disk, "qcow2", all, &error_abort), ==, 0);
    if (!strstr(options, "compat")) {
        sim_disk_poke(w.disk, LENGTH, zeroes, cluster - LENGTH);
    }
    return w;
}

static void poke(World *w, size_t at, unsigned width, uint64_t value)
{
    uint8_t buf[8];

    for (unsigned i = 0; i < width; i++) {
        buf[i] = value >> (8 * (width - 1 - i));
    }
    sim_disk_poke(w->disk, at, buf, width);
}

/* Bytes of the extension: 0x55; the next one follows its padding. */
static void add_extension(World *w, uint32_t type, uint32_t length)
{
    g_autofree uint8_t *data = g_malloc(length + 1);

    memset(data, 0x55, length + 1);
    poke(w, w->at, 4, type);
    poke(w, w->at + 4, 4, length);
    sim_disk_poke(w->disk, w->at + 8, data, length);
    w->at += 8 + ROUND_UP((size_t)length, 8);
}

static void add_name(World *w, size_t at, uint32_t length)
{
    g_autofree char *name = g_strnfill(length, 'n');

    poke(w, AT(backing_file_offset), 8, at);
    poke(w, AT(backing_file_size), 4, length);
    sim_disk_poke(w->disk, at, name, length);
}

static BlockBackend *reopen(World *w, int flags)
{
    return sim_disk_open(w->disk, "driver=qcow2", flags, &error_abort);
}

static int name_backing_file(BlockBackend *blk)
{
    return bdrv_change_backing_file(blk_bs(blk), "b", NULL, false);
}

static int name_backing_file_of_format(BlockBackend *blk)
{
    return bdrv_change_backing_file(blk_bs(blk), "b", "raw", false);
}

static int name_no_backing_file(BlockBackend *blk)
{
    return bdrv_change_backing_file(blk_bs(blk), "", NULL, false);
}

static int name_backing_file_at_length(BlockBackend *blk)
{
    g_autofree char *name = g_strnfill(900, 'x');

    return bdrv_change_backing_file(blk_bs(blk), name, NULL, false);
}

static int amend(BlockBackend *blk)
{
    BlockOptions *o = blk_options_new();

    blk_options_parse(o, "lazy_refcounts=on", NULL, &error_abort);
    return bdrv_amend_options(blk_bs(blk), o, NULL, NULL, false, NULL);
}

static int store_bitmap(BlockBackend *blk)
{
    BdrvDirtyBitmap *b = bdrv_create_dirty_bitmap(blk_bs(blk), 65536, "bits", &error_abort);
    int ret;

    bdrv_dirty_bitmap_set_persistence(b, true);
    ret = bdrv_store_dirty_bitmaps(blk_bs(blk), NULL);
    if (ret < 0) {
        bdrv_release_dirty_bitmap(b);
    }
    return ret;
}

/* How many extensions of that type the header has; each must have its bytes. */
static unsigned count_extensions(World *w, uint32_t type)
{
    g_autofree uint8_t *buf = g_malloc(w->cluster);
    uint64_t name;
    size_t pos, end;
    unsigned n = 0;

    sim_disk_peek(w->disk, 0, buf, w->cluster);
    name = qcow2_be64(buf + AT(backing_file_offset));
    end = name ? name : w->cluster;
    pos = qcow2_be32(buf + AT(version)) < 3 ? 72 : qcow2_be32(buf + AT(header_length));
    while (pos + 8 <= end && qcow2_be32(buf + pos)) {
        uint32_t length = qcow2_be32(buf + pos + 4);

        g_assert_cmpuint(length, <=, end - pos - 8);
        if (qcow2_be32(buf + pos) == type) {
            n++;
            for (uint32_t i = 0; i < length; i++) {
                g_assert_cmphex(buf[pos + 8 + i], ==, 0x55);
            }
        }
        pos += 8 + ROUND_UP((size_t)length, 8);
    }
    return n;
}

typedef struct Change {
    const char *name;
    int (*run)(BlockBackend *blk);
    int full; /* what it returns when the header has no room */
} Change;

static const Change changes[] = {
    { "backing-file", name_backing_file, -ENOSPC },
    { "backing-file-and-format", name_backing_file_of_format, -ENOSPC },
    { "amend", amend, -ENOSPC },
    { "bitmap", store_bitmap, -ENOSPC },
};

static void expect_unchanged(World *w, int (*run)(BlockBackend *), int result)
{
    g_autofree uint8_t *before = g_malloc(w->cluster), *after = g_malloc(w->cluster);
    BlockBackend *blk = reopen(w, FLAGS);

    sim_disk_peek(w->disk, 0, before, w->cluster);
    g_assert_cmpint(run(blk), ==, result);
    sim_disk_peek(w->disk, 0, after, w->cluster);
    g_assert_cmpmem(before, w->cluster, after, w->cluster);
    blk_unref(blk);
    blk_unref(reopen(w, FLAGS));
}

/* Extensions to the last byte: no end mark, and no room for one. */
static void no_room(gconstpointer data)
{
    const Change *c = data;
    World w = new_image(512, "refcount_bits=16");

    add_extension(&w, UNKNOWN, 512 - LENGTH - 8);
    expect_unchanged(&w, c->run, c->full);
    g_assert_cmpuint(count_extensions(&w, UNKNOWN), ==, 1);
    sim_power_unref(w.power);
}

/* And with the name of a backing file at the end. */
static void no_room_with_name(gconstpointer data)
{
    const Change *c = data;
    World w = new_image(512, "refcount_bits=16");

    add_extension(&w, UNKNOWN, 200);
    add_extension(&w, UNKNOWN + 1, 84);
    add_name(&w, w.at, 512 - w.at);
    if (!strncmp(c->name, "backing", 7)) {
        BlockBackend *blk = reopen(&w, FLAGS);

        g_assert_cmpint(c->run(blk), ==, 0); /* it is shorter */
        blk_unref(blk);
    } else {
        expect_unchanged(&w, c->run, c->full);
    }
    g_assert_cmpuint(count_extensions(&w, UNKNOWN), ==, 1);
    g_assert_cmpuint(count_extensions(&w, UNKNOWN + 1), ==, 1);
    sim_power_unref(w.power);
}

/* The fixed fields alone fill the header. */
static void fixed_fields_only(gconstpointer data)
{
    const Change *c = data;
    World w = new_image(512, "refcount_bits=16");

    poke(&w, AT(header_length), 4, 512);
    expect_unchanged(&w, c->run, c->full);
    sim_power_unref(w.power);
}

/*
 * The last extension has no padding, the name follows at once and is at an odd place; before
 * them some that nobody knows and one of encryption, which is nothing to us.
 */
static void odd_places(gconstpointer data)
{
    const Change *c = data;
    World w = new_image(4096, "refcount_bits=16");
    BlockBackend *blk;

    add_extension(&w, QCOW2_EXT_CRYPTO_HEADER, 16);
    add_extension(&w, UNKNOWN, 40);
    add_extension(&w, UNKNOWN, 0);
    add_extension(&w, UNKNOWN, 5);
    add_name(&w, w.at - 3, 7);
    blk = reopen(&w, FLAGS);
    g_assert_cmpint(c->run(blk), ==, 0);
    blk_unref(blk);
    g_assert_cmpuint(count_extensions(&w, QCOW2_EXT_CRYPTO_HEADER), ==, 1);
    g_assert_cmpuint(count_extensions(&w, UNKNOWN), ==, 3);
    blk_unref(reopen(&w, FLAGS));
    sim_power_unref(w.power);
}

/* Four bytes are left before the name: less than an extension takes. */
static void a_gap_before_the_name(gconstpointer data)
{
    const Change *c = data;
    World w = new_image(4096, "refcount_bits=16");
    BlockBackend *blk;

    add_extension(&w, UNKNOWN, 40);
    add_name(&w, w.at + 4, 9);
    blk = reopen(&w, FLAGS);
    g_assert_cmpint(c->run(blk), ==, 0);
    g_assert_cmpint(amend(blk), ==, 0); /* with what the change has left */
    blk_unref(blk);
    g_assert_cmpuint(count_extensions(&w, UNKNOWN), ==, 1);
    blk_unref(reopen(&w, FLAGS));
    sim_power_unref(w.power);
}

/* Somebody writes to the header of an open image: it is not made worse. */
static void changed_meanwhile(gconstpointer data)
{
    const Change *c = data;
    static const struct {
        size_t at;
        unsigned width;
        uint64_t value;
        bool for_bitmaps; /* others take this field from RAM */
    } fields[] = {
        { AT(header_length), 4, 8, true },
        { AT(header_length), 4, 8192, true },
        { AT(backing_file_offset), 8, 9000, true },
        { AT(backing_file_size), 4, 5000, true },
        { LENGTH + 4, 4, 100000, false }, /* the length of the first extension */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        World w = new_image(4096, "refcount_bits=16");
        BlockBackend *blk;
        int ret;

        if (fields[i].for_bitmaps && c->run != store_bitmap) {
            sim_power_unref(w.power);
            continue;
        }
        add_extension(&w, UNKNOWN, 40);
        add_name(&w, 3000, 9);
        blk = reopen(&w, FLAGS);
        poke(&w, fields[i].at, fields[i].width, fields[i].value);
        ret = c->run(blk);
        if (fields[i].for_bitmaps) {
            g_assert_cmpint(ret, ==, -EIO);
        } else if (!strncmp(c->name, "backing", 7)) {
            g_assert_cmpint(ret, ==, -EINVAL);
        } else {
            g_assert_cmpint(ret, ==, 0); /* what cannot be read ends the extensions */
        }
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* Names that take several sectors: what cannot go the safe way goes at once, and is right. */
static void long_names(void)
{
    static const struct {
        uint32_t cluster, header_length;
        const char *options;
    } images[] = {
        { 4096, LENGTH, "refcount_bits=16" },
        { 4096, LENGTH, "compat=0.10" },
        { 4096, 1024, "refcount_bits=16" }, /* longer fixed fields than anybody knows */
        { 1024, 112, "refcount_bits=16" },  /* no place apart */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(images); i++) {
        World w = new_image(images[i].cluster, images[i].options);
        BlockBackend *blk;

        if (images[i].header_length != LENGTH) {
            poke(&w, AT(header_length), 4, images[i].header_length);
        }
        blk = reopen(&w, FLAGS);
        g_assert_cmpint(name_backing_file_at_length(blk), ==, 0);
        blk_unref(blk);
        blk = reopen(&w, FLAGS);
        g_assert_cmpuint(strlen(blk_bs(blk)->backing_file), ==, 900);
        g_assert_cmpint(name_no_backing_file(blk), ==, 0);
        blk_unref(blk);
        blk = reopen(&w, FLAGS);
        g_assert_null(blk_bs(blk)->backing_file);
        blk_unref(blk);
        sim_power_unref(w.power);
    }
}

/* --- parsing alone --- */

static void parse(World *w, size_t len, int result, const char *message)
{
    g_autofree uint8_t *buf = g_malloc(w->cluster);
    Error *err = NULL;
    Qcow2Header h;
    int ret;

    sim_disk_peek(w->disk, 0, buf, w->cluster);
    ret = qcow2_header_parse_fields(&h, buf, len, &err);
    if (ret == 0) {
        ret = qcow2_header_parse_extensions(&h, buf, len, &err);
        qcow2_header_clear(&h);
    }
    g_assert_cmpint(ret, ==, result);
    if (message && !strstr(error_get_pretty(err), message)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), message);
    }
    g_clear_pointer(&err, error_free);
}

static void files_that_end_within_the_header(void)
{
    World w = new_image(4096, "refcount_bits=16");

    parse(&w, 71, -EINVAL, "not in qcow2 format");
    parse(&w, 90, -EINVAL, "the file ends within it");
    parse(&w, 104, -EINVAL, "the file ends within it");
    parse(&w, 4096, 0, NULL);
    poke(&w, AT(header_length), 4, 104); /* as the first version 3 had it: no compression type */
    parse(&w, 104, 0, NULL);
    poke(&w, AT(header_length), 4, LENGTH);
    add_name(&w, 600, 100);
    parse(&w, 600, -EINVAL, "beyond the end");
    parse(&w, 500, -EINVAL, "beyond the end");
    sim_power_unref(w.power);
}

static void put_feature(World *w, uint8_t word, uint8_t bit, const char *name)
{
    uint8_t entry[48] = { word, bit };

    memcpy(entry + 2, name, strlen(name));
    sim_disk_poke(w->disk, w->at, entry, sizeof(entry));
    w->at += sizeof(entry);
}

/* Names of features come from the image: they are shown, but do nothing to a terminal. */
static void names_of_unknown_features(void)
{
    World w = new_image(4096, "refcount_bits=16");

    poke(&w, w.at, 4, QCOW2_EXT_FEATURE_NAMES);
    poke(&w, w.at + 4, 4, 5 * 48);
    w.at += 8;
    put_feature(&w, 1, 62, "of another word");
    put_feature(&w, 0, 62, "");
    put_feature(&w, 0, 61, "blue");
    put_feature(&w, 0, 60, "gr\xe9" "en\033[m");
    put_feature(&w, 0, 62, "late");
    poke(&w, AT(incompatible_features), 8, UINT64_C(3) << 60);
    parse(&w, 4096, -ENOTSUP, "gr\\351en\\033[m, blue");
    poke(&w, AT(incompatible_features), 8, UINT64_C(15) << 60);
    parse(&w, 4096, -ENOTSUP, "blue, late, Unknown incompatible feature: 8000000000000000");
    poke(&w, AT(incompatible_features), 8, UINT64_C(1) << 50);
    parse(&w, 4096, -ENOTSUP, ": Unknown incompatible feature: 4000000000000");
    sim_power_unref(w.power);
}

static void disks_without_bytes(void)
{
    World w = new_image(4096, "refcount_bits=16");

    poke(&w, AT(size), 8, 0);
    poke(&w, AT(l1_size), 4, 0);
    poke(&w, AT(l1_table_offset), 8, 0);
    parse(&w, 4096, 0, NULL);
    poke(&w, AT(l1_table_offset), 8, 77); /* nothing lies there, but nonsense it is */
    parse(&w, 4096, -EINVAL, "L1 table offset invalid");
    sim_power_unref(w.power);
}

/* The last byte of a table would have an offset that no number has. */
static void tables_beyond_all_offsets(void)
{
    World w = new_image(4096, "refcount_bits=16");

    poke(&w, AT(l1_size), 4, 600);
    poke(&w, AT(l1_table_offset), 8, INT64_MAX & ~UINT64_C(4095));
    parse(&w, 4096, -EINVAL, "L1 table offset invalid");
    poke(&w, AT(l1_size), 4, 500);
    parse(&w, 4096, 0, NULL); /* that one has; the file is not so long */
    sim_power_unref(w.power);
}

static void creation_with_more_than_fits(void)
{
    World w = new_image(4096, "refcount_bits=16");
    g_autofree char *name = g_strnfill(450, 'x');
    g_autofree char *options =
        g_strdup_printf("size=1M,cluster_size=512,backing_file=%s,backing_fmt=raw", name);
    g_autofree char *file = g_strdup_printf("size=1M,cluster_size=512,data_file=sim:%s", name);
    Error *err = NULL;

    g_assert_cmpint(sim_disk_create(w.disk, "qcow2", options, &err), <, 0);
    g_assert_nonnull(err);
    g_clear_pointer(&err, error_free);
    sim_disk_new(w.power, name, 0, &error_abort);
    g_assert_cmpint(sim_disk_create(w.disk, "qcow2", file, &err), <, 0);
    g_assert_nonnull(err);
    g_clear_pointer(&err, error_free);
    sim_power_unref(w.power);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        GTestDataFunc function;
    } tests[] = {
        { "no-room", no_room },
        { "no-room-with-name", no_room_with_name },
        { "fixed-fields-only", fixed_fields_only },
        { "odd-places", odd_places },
        { "gap-before-name", a_gap_before_the_name },
        { "changed-meanwhile", changed_meanwhile },
    };

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    for (size_t i = 0; i < G_N_ELEMENTS(tests) * G_N_ELEMENTS(changes); i++) {
        const Change *c = &changes[i % G_N_ELEMENTS(changes)];
        g_autofree char *path = g_strdup_printf(
            "/qcow2/odd-headers/%s/%s", tests[i / G_N_ELEMENTS(changes)].name, c->name);

        g_test_add_data_func(path, c, tests[i / G_N_ELEMENTS(changes)].function);
    }
    g_test_add_func("/qcow2/odd-headers/long-names", long_names);
    g_test_add_func("/qcow2/odd-headers/file-ends-within", files_that_end_within_the_header);
    g_test_add_func("/qcow2/odd-headers/names-of-unknown-features", names_of_unknown_features);
    g_test_add_func("/qcow2/odd-headers/disks-without-bytes", disks_without_bytes);
    g_test_add_func("/qcow2/odd-headers/tables-beyond-all-offsets", tables_beyond_all_offsets);
    g_test_add_func("/qcow2/odd-headers/creation-with-more-than-fits", creation_with_more_than_fits);
    return g_test_run();
}
