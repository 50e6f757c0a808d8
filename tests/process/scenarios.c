/* SPDX-License-Identifier: MIT */
/*
 * The commands, and what must hold for each of them when it has been stopped at any point:
 * what is only read is untouched; images have no damage; what is half done is either what it was or
 * what it should be, sector by sector; the same command then does the rest.
 */
#include "scenario.h"

#include "block/block-backend.h"
#include "qemu/cutils.h"
#include "writer.h"

#define DISK  (1 << 20) /* bytes */
#define SIZE  "1050112" /* ... and three sectors, so that no cluster ends there */

/* Spaces of one argument are %20; no format string. */
#define IO_WRITES \
    "-c write%20-P%207%2010k%20100k -c write%20-z%20200k%2064k -c discard%20400k%20100k -c flush"

/* --- making images --- */

static void must(Place *p, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void must(Place *p, const char *format, ...)
{
    g_autofree char *command = NULL;
    va_list args;

    va_start(args, format);
    command = g_strdup_vprintf(format, args);
    va_end(args);
    place_must_run(p, command);
    if (place_has_finding(p)) {
        g_error("%s", p->finding->str);
    }
}

/* Some data everywhere: parts of clusters, whole ones, several, and the end. */
static void scatter(const char *name, const char *format, uint32_t tag)
{
    for (uint32_t i = 0; i < 12; i++) {
        int64_t at = (int64_t)((tag * 7 + i * 131) % 2048) * SECTOR;

        image_write(name, format, at, MIN((1 + i % 5 * 19) * SECTOR, DISK - at), tag);
    }
    image_write(name, format, DISK + SECTOR, 2 * SECTOR, tag);
}

static void make_qcow2(Place *p, const char *name, const char *options, uint32_t tag)
{
    must(p, "img create -q -f qcow2 -o %s %s " SIZE, options, name);
    if (tag) {
        scatter(name, "qcow2", tag);
    }
}

static void make_overlay(Place *p, const char *name, const char *base, uint32_t tag)
{
    must(p, "img create -q -f qcow2 -o cluster_size=4k -b %s -F qcow2 %s", base, name);
    scatter(name, "qcow2", tag);
    must(p, "io -f qcow2 -c write%%20-z%%2048k%%2020k %s", name);
}

static bool exists(const char *name)
{
    return access(name, F_OK) == 0;
}

/* --- convert --- */

static void source(Place *p)
{
    make_qcow2(p, "a", "cluster_size=4k", 1);
    place_remember(p, "a", "a", NULL);
}

/* A new target may be missing, or have no header yet; otherwise it is an image with less in it. */
static void target_is_incomplete(Place *p)
{
    Contents c = { .length = -1 };

    expect_untouched(p, "a");
    if (exists("b")) {
        c = image_read("b", "qcow2", NULL);
    }
    if (c.length >= 0) {
        expect_sound(p, "b");
        expect_either(p, "b", "qcow2", "a", "zero");
    }
    contents_clear(&c);
}

static void target_is_complete(Place *p)
{
    expect_untouched(p, "a");
    expect_clean(p, "b");
    expect_same(p, "b", "qcow2", "a");
}

static void raw_target_is_incomplete(Place *p)
{
    Contents c = exists("b") ? image_read("b", "raw", NULL) : (Contents){ .length = -1 };
    const Contents *a = place_known(p, "a");

    expect_untouched(p, "a");
    for (int64_t at = 0; at < c.length; at += SECTOR) {
        if (!buffer_is_zero(c.data + at, SECTOR) && memcmp(c.data + at, a->data + at, SECTOR)) {
            place_find(p, "b: sector %" PRId64 " is not that of a", at / SECTOR);
            break;
        }
    }
    contents_clear(&c);
}

static void raw_target_is_complete(Place *p)
{
    expect_untouched(p, "a");
    expect_same(p, "b", "raw", "a");
}

static void source_and_target(Place *p)
{
    source(p);
    make_qcow2(p, "b", "cluster_size=4k,refcount_bits=1", 2);
    place_remember(p, "b", "b", NULL);
}

static void target_is_mixed(Place *p)
{
    expect_untouched(p, "a");
    expect_sound(p, "b");
    expect_either(p, "b", "qcow2", "a", "b");
}

/* A new image in the place of an old one: until it is begun, the old one is there. */
static void target_is_old_or_incomplete(Place *p)
{
    Contents c = exists("b") ? image_read("b", "qcow2", NULL) : (Contents){ .length = -1 };
    const Contents *old = place_known(p, "b");

    if (c.length != old->length || memcmp(c.data, old->data, c.length)) {
        target_is_incomplete(p);
    }
    contents_clear(&c);
}

static void existing_target_is_complete(Place *p)
{
    expect_untouched(p, "a");
    expect_sound(p, "b");
    expect_same(p, "b", "qcow2", "a");
}

static void raw_source(Place *p)
{
    must(p, "img create -q -f raw a " SIZE);
    scatter("a", "raw", 3);
    place_remember(p, "a", "a", NULL);
}

/* --- chains --- */

static void chain(Place *p)
{
    make_qcow2(p, "base", "cluster_size=4k", 4);
    make_overlay(p, "mid", "base", 5);
    make_overlay(p, "a", "mid", 6);
    place_remember(p, "base", "base", NULL);
    place_remember(p, "mid", "mid", NULL);
    place_remember(p, "a", "a", NULL);
}

static void overlay_target_is_incomplete(Place *p)
{
    Contents c = exists("b") ? image_read("b", "qcow2", NULL) : (Contents){ .length = -1 };

    expect_untouched(p, "a");
    expect_untouched(p, "mid");
    expect_untouched(p, "base");
    if (c.length >= 0) {
        expect_sound(p, "b");
        expect_either(p, "b", "qcow2", "a", "mid");
    }
    contents_clear(&c);
}

static void overlay_target_is_complete(Place *p)
{
    expect_untouched(p, "mid");
    expect_untouched(p, "base");
    target_is_complete(p);
}

static void commit_is_under_way(Place *p)
{
    expect_untouched(p, "base");
    expect_sound(p, "a");
    expect_sound(p, "mid");
    expect_same(p, "a", "qcow2", "a");
    expect_either(p, "mid", "qcow2", "a", "mid");
}

static void commit_is_done(Place *p)
{
    commit_is_under_way(p);
    expect_same(p, "mid", "qcow2", "a");
}

static void commit_to_base_is_under_way(Place *p)
{
    expect_untouched(p, "a");
    expect_untouched(p, "mid");
    expect_sound(p, "base");
    expect_same(p, "a", "qcow2", "a");
    expect_either(p, "base", "qcow2", "a", "base");
}

static void commit_to_base_is_done(Place *p)
{
    commit_to_base_is_under_way(p);
    expect_same(p, "base", "qcow2", "a");
}

static void chain_and_other(Place *p)
{
    chain(p);
    make_qcow2(p, "other", "cluster_size=64k", 7);
    place_remember(p, "other", "other", NULL);
}

static void rebase_keeps_contents(Place *p)
{
    expect_untouched(p, "mid");
    expect_untouched(p, "base");
    expect_untouched(p, "other");
    expect_sound(p, "a");
    expect_same(p, "a", "qcow2", "a");
}

static void chain_and_twin(Place *p)
{
    chain(p);
    must(p, "img convert -O qcow2 mid other");
}

/* --- resize --- */

static void expect_resized(Place *p, const char *name, int64_t small, int64_t large)
{
    const Contents *a = place_known(p, "a");
    Contents c = image_read(name, NULL, NULL);

    if (c.length != small && c.length != large) {
        place_find(p, "%s has %" PRId64 " bytes: %s", name, c.length, c.error ? c.error : "");
    } else if (memcmp(c.data, a->data, MIN(small, a->length))) {
        place_find(p, "%s has lost data", name);
    }
    for (int64_t at = small; at < c.length; at += SECTOR) {
        bool kept = at + SECTOR <= a->length && !memcmp(c.data + at, a->data + at, SECTOR);

        if (!kept && !buffer_is_zero(c.data + at, SECTOR)) {
            place_find(p, "%s: sector %" PRId64 " is neither what it was nor zero", name,
                       at / SECTOR);
            break;
        }
    }
    contents_clear(&c);
}

#define GROWN  (9 << 20)
#define SHRUNK (300 * 1024 + SECTOR)

static void growing(Place *p)
{
    expect_sound(p, "a");
    expect_resized(p, "a", atoi(SIZE), GROWN);
}

static void grown(Place *p)
{
    expect_sound(p, "a");
    expect_resized(p, "a", GROWN, GROWN);
}

static void shrinking(Place *p)
{
    expect_sound(p, "a");
    expect_resized(p, "a", SHRUNK, atoi(SIZE));
}

static void shrunk(Place *p)
{
    expect_sound(p, "a");
    expect_resized(p, "a", SHRUNK, SHRUNK);
}

static void raw_growing(Place *p)
{
    expect_resized(p, "a", atoi(SIZE), GROWN);
}

static void raw_grown(Place *p)
{
    expect_resized(p, "a", GROWN, GROWN);
}

static void small_clusters(Place *p)
{
    make_qcow2(p, "a", "cluster_size=512,refcount_bits=64", 8);
    place_remember(p, "a", "a", NULL);
}

/* --- snapshots: "s" and "t" are there, "u" is made --- */

static void with_snapshots(Place *p)
{
    make_qcow2(p, "a", "cluster_size=4k", 9);
    must(p, "img snapshot -c s a");
    place_remember(p, "s", "a", NULL);
    scatter("a", "qcow2", 10);
    must(p, "img snapshot -c t a");
    place_remember(p, "t", "a", NULL);
    scatter("a", "qcow2", 11);
    place_remember(p, "a", "a", NULL);
}

static void snapshots_stay(Place *p)
{
    expect_sound(p, "a");
    expect_snapshot(p, "a", "s", "s");
    expect_snapshot(p, "a", "t", "t");
}

static void snapshot_is_made(Place *p)
{
    snapshots_stay(p);
    expect_same(p, "a", "qcow2", "a");
    if (image_has_snapshot(p, "a", "u") == 1) {
        expect_snapshot(p, "a", "u", "a");
    }
}

static void snapshot_is_there(Place *p)
{
    snapshot_is_made(p);
    expect_snapshot(p, "a", "u", "a");
}

static void snapshot_is_applied(Place *p)
{
    snapshots_stay(p);
    expect_either(p, "a", "qcow2", "a", "s");
}

static void snapshot_has_been_applied(Place *p)
{
    snapshots_stay(p);
    expect_same(p, "a", "qcow2", "s");
}

static void snapshot_is_deleted(Place *p)
{
    expect_sound(p, "a");
    expect_same(p, "a", "qcow2", "a");
    expect_snapshot(p, "a", "t", "t");
    if (image_has_snapshot(p, "a", "s") == 1) {
        expect_snapshot(p, "a", "s", "s");
    }
}

static void snapshot_is_gone(Place *p)
{
    snapshot_is_deleted(p);
    if (image_has_snapshot(p, "a", "s") == 1) {
        place_find(p, "the snapshot s is still there");
    }
}

/* --- what changes metadata only --- */

static void contents_stay(Place *p)
{
    expect_sound(p, "a");
    expect_same(p, "a", "qcow2", "a");
}

static void version_2(Place *p)
{
    make_qcow2(p, "a", "cluster_size=4k,compat=0.10", 12);
    place_remember(p, "a", "a", NULL);
}

static void zero_clusters(Place *p)
{
    make_qcow2(p, "a", "cluster_size=4k", 13);
    must(p, "img snapshot -c s a");
    must(p, "io -f qcow2 -c write%%20-z%%20100k%%20300k a");
    must(p, "io -f qcow2 -c write%%20-zu%%20500k%%20100k a");
    place_remember(p, "a", "a", NULL);
}

static void with_bitmaps(Place *p)
{
    make_qcow2(p, "a", "cluster_size=4k", 14);
    must(p, "img bitmap --add -g 512 a x");
    must(p, "img bitmap --add -g 4096 a y");
    scatter("a", "qcow2", 15);
    place_remember(p, "a", "a", NULL);
}

/* Leaked clusters, and one in use whose refcount says that it is not. */
static void damaged(Place *p)
{
    uint8_t two[2] = { 0, 2 }, none[2] = { 0, 0 };
    int fd;

    make_qcow2(p, "a", "cluster_size=4k", 16);
    place_remember(p, "a", "a", NULL);
    fd = open("a", O_RDWR | O_CLOEXEC);
    /* The refcount block is the third cluster; header, table, block, L1 table are the first ones. */
    g_assert_true(pwrite(fd, two, 2, 2 * 4096 + 2 * 9) == 2 &&
                  pwrite(fd, none, 2, 2 * 4096 + 2 * 12) == 2 &&
                  pwrite(fd, two, 2, 2 * 4096 + 2 * 500) == 2);
    close(fd);
}

static void damage_is_repaired(Place *p)
{
    expect_same(p, "a", "qcow2", "a");
}

static void damage_is_gone(Place *p)
{
    expect_clean(p, "a");
    expect_same(p, "a", "qcow2", "a");
}

/* --- create, dd, qemu-io --- */

static void empty_source(Place *p)
{
    make_qcow2(p, "a", "cluster_size=4k", 0);
    place_remember(p, "a", "a", NULL);
}

/* "a" before the writes of IO_COMMANDS is known as "old", and after them as "a". */
static void before_writes(Place *p, const char *options)
{
    g_autofree char *data = NULL;
    gsize length;

    make_qcow2(p, "a", options, 17);
    place_remember(p, "old", "a", NULL);
    g_assert_true(g_file_get_contents("a", &data, &length, NULL) &&
                  g_file_set_contents("b", data, length, NULL));
    place_must_run(p, "io -f qcow2 " IO_WRITES " b");
    place_remember(p, "a", "b", NULL);
    unlink("b");
}

static void lazy(Place *p)
{
    before_writes(p, "cluster_size=4k,lazy_refcounts=on");
}

static void extended(Place *p)
{
    before_writes(p, "cluster_size=16k,extended_l2=on");
}

static void writes_happen(Place *p)
{
    expect_sound(p, "a");
    expect_either(p, "a", "qcow2", "a", "old");
}

static void untouched(Place *p)
{
    expect_untouched(p, "a");
}

static void chain_is_untouched(Place *p)
{
    expect_untouched(p, "a");
    expect_untouched(p, "mid");
    expect_untouched(p, "base");
}

/* --- the writer (writer.c) --- */

static void writer_image(Place *p)
{
    make_qcow2(p, "a", "cluster_size=4k", 0);
}

static void writer_image_small(Place *p)
{
    make_qcow2(p, "a", "cluster_size=512,refcount_bits=64", 0);
}

static void writer_image_extended(Place *p)
{
    make_qcow2(p, "a", "cluster_size=16k,extended_l2=on", 0);
}

static void writer_image_lazy(Place *p)
{
    make_qcow2(p, "a", "cluster_size=2k,lazy_refcounts=on", 0);
}

static void written_so_far(Place *p)
{
    Contents c = image_read("a", "qcow2", NULL);
    char *wrong = c.length < 0 ? g_strdup(c.error) : writer_log_judge(place_log(p), c.data);

    expect_sound(p, "a");
    if (wrong) {
        place_find(p, "a: %s", wrong);
    }
    g_free(wrong);
    contents_clear(&c);
}

const Scenario scenarios[] = {
    { "convert", "img convert -O qcow2 -o cluster_size=4k a b", source, target_is_incomplete,
      target_is_complete },
    { "convert-compressed", "img convert -c -O qcow2 -o cluster_size=8k a b", source,
      target_is_incomplete, target_is_complete },
    { "convert-zstd", "img convert -c -O qcow2 -o compression_type=zstd,cluster_size=4k a b",
      raw_source, target_is_incomplete, target_is_complete },
    { "convert-existing", "img convert -n -O qcow2 a b", source_and_target, target_is_mixed,
      existing_target_is_complete, .repair = "b" },
    { "convert-over", "img convert -O qcow2 -o cluster_size=1k a b", source_and_target,
      target_is_old_or_incomplete, target_is_complete },
    { "convert-preallocated", "img convert -W -O qcow2 -o preallocation=metadata a b", source,
      target_is_incomplete, target_is_complete },
    { "convert-raw", "img convert -O raw a b", source, raw_target_is_incomplete,
      raw_target_is_complete },
    { "convert-raw-offload", "img convert -C -f raw -O raw a b", raw_source,
      raw_target_is_incomplete, raw_target_is_complete },
    { "convert-direct", "img convert -t none -T none -O qcow2 a b", source, target_is_incomplete,
      target_is_complete },
    { "convert-extended", "img convert -O qcow2 -o extended_l2=on,cluster_size=16k a b", source,
      target_is_incomplete, target_is_complete },
    { "convert-lazy", "img convert -O qcow2 -o lazy_refcounts=on,cluster_size=2k a b", source,
      target_is_incomplete, target_is_complete },
    { "convert-overlay", "img convert -O qcow2 -B mid -F qcow2 a b", chain,
      overlay_target_is_incomplete, overlay_target_is_complete },
    { "dd", "img dd -O qcow2 bs=64k if=a of=b", source, target_is_incomplete, target_is_complete },
    { "create", "img create -q -f qcow2 -o preallocation=metadata b " SIZE, empty_source,
      target_is_incomplete, target_is_complete },
    { "commit", "img commit -q a", chain, commit_is_under_way, commit_is_done, .repair = "mid" },
    { "commit-to-base", "img commit -q -b base a", chain, commit_to_base_is_under_way,
      commit_to_base_is_done, .repair = "base" },
    { "rebase", "img rebase -b other -F qcow2 a", chain_and_other, rebase_keeps_contents,
      rebase_keeps_contents, .repair = "a" },
    { "rebase-to-none", "img rebase -b  a", chain_and_other, rebase_keeps_contents,
      rebase_keeps_contents, .repair = "a" },
    { "rebase-unsafe", "img rebase -u -b other -F qcow2 a", chain_and_twin, rebase_keeps_contents,
      rebase_keeps_contents },
    { "resize-grow", "img resize -q a 9M", small_clusters, growing, grown, .repair = "a" },
    { "resize-grow-preallocated", "img resize -q --preallocation=metadata a 9M", source, growing,
      grown, .repair = "a", .already = "growing images" },
    { "resize-shrink", "img resize -q --shrink a 307712", small_clusters, shrinking, shrunk,
      .repair = "a" },
    { "resize-raw", "img resize -q -f raw a 9M", raw_source, raw_growing, raw_grown },
    { "snapshot-create", "img snapshot -c u a", with_snapshots, snapshot_is_made,
      snapshot_is_there, .repair = "a" },
    { "snapshot-apply", "img snapshot -a s a", with_snapshots, snapshot_is_applied,
      snapshot_has_been_applied, .repair = "a" },
    { "snapshot-delete", "img snapshot -d s a", with_snapshots, snapshot_is_deleted,
      snapshot_is_gone, .repair = "a", .already = "snapshot" },
    { "amend-upgrade", "img amend -o compat=1.1,lazy_refcounts=on a", version_2, contents_stay,
      contents_stay, .repair = "a" },
    { "amend-downgrade", "img amend -o compat=0.10 a", zero_clusters, contents_stay, contents_stay,
      .repair = "a" },
    { "amend-refcounts", "img amend -o refcount_bits=64 a", with_snapshots, contents_stay,
      contents_stay, .repair = "a" },
    { "bitmap-add", "img bitmap --add -g 1k a z", with_bitmaps, contents_stay, contents_stay,
      .already = "exists" },
    { "bitmap-merge", "img bitmap --merge x a y", with_bitmaps, contents_stay, contents_stay },
    { "bitmap-clear", "img bitmap --clear --disable a x", with_bitmaps, contents_stay,
      contents_stay },
    { "bitmap-remove", "img bitmap --remove a x", with_bitmaps, contents_stay, contents_stay,
      .already = "not found" },
    { "check-repair", "img check -q -r all a", damaged, damage_is_repaired, damage_is_gone },
    { "io-writes", "io -f qcow2 " IO_WRITES " a", extended, writes_happen, contents_stay,
      .repair = "a" },
    { "io-writes-lazy", "io -f qcow2 -t writeback " IO_WRITES " a", lazy, writes_happen,
      contents_stay, .repair = "a" },
    { "io-writes-native", "io -f qcow2 -i native -n " IO_WRITES " a", lazy, writes_happen,
      contents_stay, .repair = "a" },
    { "writer", "writer a 4096 @", writer_image, written_so_far, written_so_far, .fresh = true },
    { "writer-small", "writer a 512 @", writer_image_small, written_so_far, written_so_far,
      .fresh = true },
    { "writer-extended", "writer a 16384 @", writer_image_extended, written_so_far, written_so_far,
      .fresh = true },
    { "writer-lazy", "writer a 2048 @", writer_image_lazy, written_so_far, written_so_far,
      .fresh = true },
    { "compare", "img compare a mid", chain_and_other, chain_is_untouched, chain_is_untouched,
      .reads_only = true, .code = 1 },
    { "info", "img info --backing-chain --output=json a", chain, chain_is_untouched,
      chain_is_untouched, .reads_only = true, .may_be_less = true },
    { "map", "img map --output=json a", chain, chain_is_untouched, chain_is_untouched,
      .reads_only = true },
    { "measure", "img measure -O qcow2 a", chain, chain_is_untouched, chain_is_untouched,
      .reads_only = true },
    { "check", "img check a", with_snapshots, untouched, untouched, .reads_only = true },
    { "io-reads", "io -r -f qcow2 -i native -n -c read%20-v%201000%20100 -c read%20-v%20300000%2050 "
      "a", chain, chain_is_untouched, chain_is_untouched, .reads_only = true, .may_be_less = true },
};

const size_t n_scenarios = G_N_ELEMENTS(scenarios);
