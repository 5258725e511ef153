#include "real-qemu/differential/hostile_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "real-qemu/differential/shell.h"
#include "sim/base/bytes.h"
#include "sim/world/rng.h"

namespace differential {

namespace {

template <class T>
std::string big_endian(T value) {
  std::string bytes(sizeof(T), '\0');
  sim::store_be(std::as_writable_bytes(std::span(bytes)), 0, value);
  return bytes;
}
Patch u8(std::uint64_t at, std::uint64_t value) {
  return {at, big_endian(static_cast<std::uint8_t>(value))};
}
Patch u16(std::uint64_t at, std::uint64_t value) {
  return {at, big_endian(static_cast<std::uint16_t>(value))};
}
Patch u32(std::uint64_t at, std::uint64_t value) {
  return {at, big_endian(static_cast<std::uint32_t>(value))};
}
Patch u64(std::uint64_t at, std::uint64_t value) { return {at, big_endian(value)}; }

class Cases {
 public:
  HostileImage& add(std::string name, std::string base, std::vector<Patch> patches) {
    std::ranges::replace_if(
        name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
    all_.push_back(
        {.name = std::move(name), .base = std::move(base), .patches = std::move(patches)});
    return all_.back();
  }
  // The same place with each of several values.
  void values(const std::string& name, const std::string& base, std::uint64_t at, unsigned bytes,
              const std::vector<std::uint64_t>& values) {
    for (const std::uint64_t value : values) {
      const Patch patch = bytes == 1   ? u8(at, value)
                          : bytes == 2 ? u16(at, value)
                          : bytes == 4 ? u32(at, value)
                                       : u64(at, value);
      add(fmt::format("{}_{:x}", name, value), base, {patch});
    }
  }
  std::vector<HostileImage> take() { return std::move(all_); }

 private:
  std::vector<HostileImage> all_;
};

constexpr std::uint64_t kAll = ~std::uint64_t{0};
constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;

// In the plain bases clusters are 64 KiB: header, refcount table, block, L1, L2, then data.
constexpr std::uint64_t kTable = 0x10000, kBlock = 0x20000, kL1 = 0x30000, kL2 = 0x40000;

void add_header_fields(Cases& cases) {
  const std::string plain = "plain.qcow2";
  cases.values("magic", plain, 0, 4, {0, 0x514649fa, 0x4b444d56});
  cases.values("version", plain, 4, 4, {0, 1, 2, 4, 0xffffffff});
  for (const std::uint64_t at : {8, 104, 0x1f0, 0xfff0, 0x10000, 0x10001})
    for (const std::uint64_t length :
         {std::uint64_t{1}, std::uint64_t{1023}, std::uint64_t{1024}, std::uint64_t{0xffffffff}})
      cases.add(fmt::format("backing_at_{:x}_length_{:x}", at, length), plain,
                {u64(8, at), u32(16, length)});
  cases.values("backing_offset", plain, 8, 8, {kAll, std::uint64_t{1} << 62});
  cases.values("cluster_bits", plain, 20, 4, {0, 8, 9, 12, 15, 17, 21, 22, 31, 63, 64, 0xffffffff});
  cases.values("size", plain, 24, 8,
               {0, 1, 513, 0x100200, std::uint64_t{1} << 29, (std::uint64_t{1} << 29) + 1,
                std::uint64_t{1} << 40, std::uint64_t{1} << 62, kCopied, kAll});
  cases.values("crypt_method", plain, 32, 4, {1, 2, 3, 0xffffffff});
  cases.values("l1_size", plain, 36, 4,
               {0, 2, 100, 0x2000, 0x400000, 0x400001, 0x7fffffff, 0xffffffff});
  cases.values("l1_offset", plain, 40, 8,
               {0, 1, 8, 512, 0x10000, 0x20000, 0x40000, 0x50000, 0x1000000, std::uint64_t{1} << 50,
                std::uint64_t{1} << 62, kAll});
  cases.values("table_offset", plain, 48, 8,
               {0, 1, 512, 0x20000, 0x30000, 0x40000, 0x1000000, std::uint64_t{1} << 62, kAll});
  cases.values("table_clusters", plain, 56, 4, {0, 2, 128, 129, 0x100000, 0xffffffff});
  cases.values("snapshots", plain, 60, 4, {1, 65536, 65537, 0xffffffff});
  cases.values("snapshots_offset", plain, 64, 8, {1, 0x30000, kAll});
  for (const unsigned bit : {0U, 1U, 2U, 3U, 4U, 5U, 31U, 63U})
    cases.add(fmt::format("incompatible_bit_{}", bit), plain, {u64(72, std::uint64_t{1} << bit)});
  cases.values("compatible", plain, 80, 8, {1, 2, kAll});
  cases.values("autoclear", plain, 88, 8, {1, 2, 3, 4, kAll});
  cases.values("refcount_order", plain, 96, 4, {0, 3, 5, 6, 7, 63, 0xffffffff});
  cases.values("header_length", plain, 100, 4,
               {0, 72, 103, 104, 105, 111, 112, 120, 0x1f8, 0xfff8, 0x10000, 0x10008, 0xffffffff});
  cases.values("compression_type", plain, 104, 1, {1, 2, 255});
  cases.add("compression_type_and_bit", plain, {u64(72, 8), u8(104, 1)});
  cases.add("compression_type_unknown_and_bit", plain, {u64(72, 8), u8(104, 9)});
}

// The first extension of a plain image begins at 0x70.
void add_extensions(Cases& cases) {
  const std::string plain = "plain.qcow2";
  for (const std::uint64_t type :
       {0xe2792acaU, 0x6803f857U, 0x23852875U, 0x0537be77U, 0x44415441U, 0x1234U})
    for (const std::uint64_t length : {0ULL, 1ULL, 8ULL, 16ULL, 24ULL, 0xff80ULL, 0xff89ULL,
                                       0x7fffffffULL, 0xfffffff8ULL, 0xffffffffULL})
      cases.add(fmt::format("extension_{:x}_length_{:x}", type, length), plain,
                {u32(0x70, type), u32(0x74, length)});
  std::string many;
  for (unsigned i = 0; i < 8000; ++i)
    many += big_endian(std::uint32_t{0x77}) + big_endian(std::uint32_t{0});
  cases.add("extensions_8000", plain, {{0x70, many}});
  cases.add("extensions_without_end", plain, {{0x70, std::string(0x10000 - 0x70, 'x')}});
  cases.add("data_file_bit_without_name", plain, {u64(72, 4)});
}

const std::vector<std::uint64_t>& offsets() {
  static const std::vector<std::uint64_t> all = {0,
                                                 0x10000,
                                                 0x20000,
                                                 0x30000,
                                                 0x40000,
                                                 0x50000,
                                                 0x50200,
                                                 0x51,
                                                 0x1000000,
                                                 0x7fff0000,
                                                 0x60001,
                                                 std::uint64_t{1} << 50,
                                                 0x00ffffffffff0000,
                                                 0x00fffffffffffe00,
                                                 std::uint64_t{1} << 56,
                                                 std::uint64_t{1} << 61,
                                                 kAll};
  return all;
}

void add_tables(Cases& cases) {
  for (const std::uint64_t offset : offsets()) {
    for (const std::uint64_t flag : {std::uint64_t{0}, kCopied}) {
      if ((offset & flag) != 0) continue;  // it is there already
      cases.add(fmt::format("l1_entry_{:x}", offset | flag), "plain.qcow2",
                {u64(kL1, offset | flag)});
      cases.add(fmt::format("l2_entry_{:x}", offset | flag), "plain.qcow2",
                {u64(kL2, offset | flag)});
    }
    cases.add(fmt::format("table_entry_{:x}", offset), "plain.qcow2", {u64(kTable, offset)});
  }
  cases.values("count", "plain.qcow2", kBlock + 8, 2, {0, 2, 0xffff});
  cases.values("count_of_header", "plain.qcow2", kBlock, 2, {0, 2});
  cases.values("count_behind", "plain.qcow2", kBlock + 200, 2, {1, 0xffff});
  cases.add("counts_all_0", "plain.qcow2", {{kBlock, std::string(65536, '\0')}});
  cases.add("counts_all_ones", "plain.qcow2", {{kBlock, std::string(65536, '\xff')}});
  cases.add("two_entries_one_cluster", "plain.qcow2", {u64(kL2 + 8, kCopied | 0x50000)});
  cases.add("l2_all_the_same", "plain.qcow2", [] {
    std::string entries;
    for (unsigned i = 0; i < 16; ++i) entries += big_endian(kCopied | 0x50000);
    return std::vector<Patch>{{kL2, entries}};
  }());
  // A disk that seems to hold petabytes of data, all of it one L2 table.
  cases.add("l1_all_the_same", "large.qcow2", [] {
    std::string entries;
    for (unsigned i = 0; i < 2048; ++i) entries += big_endian(kCopied | 0x40000);
    return std::vector<Patch>{{kL1, entries}};
  }());
  cases.add("zero_flag_in_old", "old.qcow2", {u64(kL2, 1)});
  for (const std::uint64_t low : {1ULL, 2ULL, 0x100ULL, 0x1ffULL})
    cases.add(fmt::format("l2_low_bits_{:x}", low), "plain.qcow2",
              {u64(kL2, kCopied | 0x50000 | low)});
}

void add_compressed(Cases& cases) {
  constexpr std::uint64_t kFlag = std::uint64_t{1} << 62;
  for (const char* base : {"zlib.qcow2", "zstd.qcow2"}) {
    for (const std::uint64_t sectors : {0ULL, 1ULL, 0xffULL})
      for (const std::uint64_t offset : {0ULL, 0x1ULL, 0x40000ULL, 0x50000ULL, 0x50010ULL,
                                         0x5ffffULL, 0x100000ULL, 0x3fffffffffffffULL})
        cases.add(fmt::format("{}_{:x}_{:x}", base, offset, sectors), base,
                  {u64(kL2, kFlag | (sectors << 54) | offset)});
    cases.add(fmt::format("{}_copied", base), base, {u64(kL2, kFlag | kCopied | 0x50000)});
    cases.add(fmt::format("{}_garbage", base), base, {{0x50000, std::string(300, '\x5a')}});
    cases.add(fmt::format("{}_zeroes", base), base, {{0x50000, std::string(300, '\0')}});
    cases.add(fmt::format("{}_cut", base), base, {}).length = 0x50008;
  }
  cases.add("compressed_in_data_file", "data.qcow2", {u64(kL2, kFlag | 0x50000)});
}

// The snapshot table of snap.qcow2 is at 0x80000 with one entry.
void add_snapshots(Cases& cases) {
  const std::string base = "snap.qcow2";
  const std::uint64_t entry = 0x80000;
  cases.values("snapshot_l1_offset", base, entry, 8, {0, 1, 0x40000, 0x1000000, kAll});
  cases.values("snapshot_l1_size", base, entry + 8, 4, {0, 2, 0x400000, 0x400001, 0xffffffff});
  cases.values("snapshot_id_length", base, entry + 12, 2, {0, 0xffff});
  cases.values("snapshot_name_length", base, entry + 14, 2, {0, 0xffff});
  cases.values("snapshot_extra", base, entry + 36, 4, {0, 8, 16, 25, 1024, 1025, 0xffffffff});
  cases.values("snapshot_disk_size", base, entry + 48, 8, {0, kAll, std::uint64_t{1} << 40});
  cases.values("snapshot_count", base, 60, 4, {0, 2, 100, 65536});
  cases.values("snapshot_table", base, 64, 8, {0, 0x10000, 0x30000, 0x1000000});
  cases.values("snapshot_l1_entry", base, 0x70000, 8,
               {0, 0x40001, 0x1000000, kCopied | 0x50000, kAll});
}

// bitmaps.qcow2: the extension's data is at 0x200, the directory at 0x50000, the table at 0x40000.
void add_bitmaps(Cases& cases) {
  const std::string base = "bitmaps.qcow2";
  const std::uint64_t extension = 0x200, entry = 0x50000;
  cases.values("bitmaps_count", base, extension, 4, {0, 2, 65535, 65536, 0xffffffff});
  cases.values("bitmaps_reserved", base, extension + 4, 4, {1});
  cases.values("bitmaps_directory_size", base, extension + 8, 8, {0, 8, 24, 33, 0x4000001, kAll});
  cases.values("bitmaps_directory", base, extension + 16, 8, {0, 1, 0x30000, 0x1000000, kAll});
  cases.values("bitmap_table", base, entry, 8, {0, 1, 0x30000, 0x1000000, kAll});
  cases.values("bitmap_table_size", base, entry + 8, 4, {0, 2, 0x8000001, 0xffffffff});
  cases.values("bitmap_flags", base, entry + 12, 4, {0, 1, 3, 4, 8, 0xffffffff});
  cases.values("bitmap_type", base, entry + 16, 1, {0, 2, 255});
  cases.values("bitmap_granularity", base, entry + 17, 1, {0, 8, 9, 31, 32, 63, 64, 255});
  cases.values("bitmap_name_length", base, entry + 18, 2, {0, 1023, 1024, 0xffff});
  cases.values("bitmap_extra", base, entry + 20, 4, {8, 0xffffffff});
  cases.values("bitmap_entry", base, 0x40000, 8,
               {1, 2, 0x30000, 0x30001, 0x1000000, 0x70001, kAll});
}

// luks.qcow2: the extension's data is at 0x78, the LUKS area at 0x40000.
void add_luks(Cases& cases) {
  const std::string base = "luks.qcow2";
  cases.values("luks_offset", base, 0x78, 8, {0, 1, 0x10000, 0x1000000, kAll});
  cases.values("luks_length", base, 0x80, 8, {0, 1, 591, 592, 0x10000, 0x1000000, kAll});
  const std::uint64_t area = 0x40000;
  cases.values("luks_magic", base, area, 4, {0});
  cases.values("luks_version", base, area + 6, 2, {0, 2, 0xffff});
  cases.add("luks_cipher", base, {{area + 8, std::string(32, 'x')}});
  cases.add("luks_mode", base, {{area + 40, std::string(32, 'x')}});
  cases.add("luks_hash", base, {{area + 72, std::string(32, 'x')}});
  cases.values("luks_payload", base, area + 104, 4, {0, 1, 0xffffffff});
  cases.values("luks_key_bytes", base, area + 108, 4, {0, 1, 16, 33, 0xffffffff});
  cases.values("luks_iterations", base, area + 164, 4, {0, 1, 0xffffffff});
  cases.values("luks_slot_active", base, area + 208, 4, {0, 0x0000dead, 0xffffffff});
  cases.values("luks_slot_iterations", base, area + 212, 4, {0, 1, 0xffffffff});
  cases.values("luks_slot_material", base, area + 248, 4, {0, 1, 512, 0xffffffff});
  cases.values("luks_slot_stripes", base, area + 252, 4, {0, 1, 4001, 0xffffffff});
  cases.add("luks_without_extension", base, {u32(0x70, 0x1234)});
  cases.add("luks_called_aes", base, {u32(32, 1)});
}

void add_subclusters(Cases& cases) {
  const std::string base = "extended.qcow2";
  for (const std::uint64_t bitmap :
       {std::uint64_t{0}, kAll, std::uint64_t{0x100000001}, std::uint64_t{0xffffffff},
        std::uint64_t{0xffffffff00000000}, std::uint64_t{0x0000ffff0000ffff}})
    for (const std::uint64_t entry : {std::uint64_t{0}, kCopied | 0x50000, kCopied | 0x50001,
                                      std::uint64_t{0x1000000}, std::uint64_t{1}})
      cases.add(fmt::format("subclusters_{:x}_{:x}", entry, bitmap), base,
                {u64(kL2, entry), u64(kL2 + 8, bitmap)});
}

void add_cut(Cases& cases) {
  for (const std::int64_t length :
       {0,       1,       4,       71,      72,      103,     104,     111,
        112,     512,     0x1f8,   0xffff,  0x10000, 0x10008, 0x20000, 0x20008,
        0x30000, 0x30008, 0x40000, 0x40008, 0x50000, 0x50200})
    cases.add(fmt::format("cut_{:x}", length), "plain.qcow2", {}).length = length;
  cases.add("cut_snapshot", "snap.qcow2", {}).length = 0x80020;
  cases.add("cut_bitmaps", "bitmaps.qcow2", {}).length = 0x50010;
  cases.add("cut_luks", "luks.qcow2", {}).length = 0x40100;
  cases.add("all_zero", "plain.qcow2", {{0, std::string(0x60000, '\0')}});
  cases.add("very_long", "plain.qcow2", {}).length = std::int64_t{1} << 40;
}

// over.qcow2 has its backing name "base.raw" at 0x210, its format "raw" at 0x78.
void add_names(Cases& cases) {
  const auto named = [&cases](const std::string& name,
                              const std::string& backing) -> HostileImage& {
    return cases.add(name, "over.qcow2",
                     {u64(8, 0x210), u32(16, backing.size()), {0x210, backing}});
  };
  named("name_absolute", "/etc/passwd");
  named("name_above", "../../etc/passwd");
  named("name_device", "/dev/zero");
  named("name_missing", "nothing.raw");
  named("name_directory", ".");
  named("name_empty_parts", ".//base.raw");
  named("name_json", R"(json:{"driver":"raw","file":{"driver":"file","filename":"base.raw"}})");
  named("name_json_broken", "json:{");
  named("name_json_deep", "json:" + std::string(900, '['));
  named("name_protocol", "nbd://127.0.0.1:1/x");
  named("name_host", "http://127.0.0.1:1/x");
  named("name_file_protocol", "file:base.raw");
  named("name_nul", std::string("base.raw\0x", 10));
  named("name_link_out", "link").around = {"ln -s /etc/passwd link"};
  named("name_link_in", "link").around = {"ln -s base.raw link"};
  named("name_fifo", "fifo").around = {"mkfifo fifo"};
  HostileImage& self = named("name_self", "h.qcow2");
  self.base = "over5.qcow2";
  HostileImage& two = named("name_circle", "b.qcow2");
  two.base = "over5.qcow2";
  two.around = {"qemu-img create -q -u -f qcow2 -b h.qcow2 -F qcow2 b.qcow2 1M"};
  HostileImage& unprobed = named("name_without_format", "base.raw");
  unprobed.base = "unprobed.qcow2";
  for (const char* name : {"/etc/hostname", "../d", "nothing", ".", "h.qcow2", "json:{}"})
    cases.add(fmt::format("data_name_{}", name), "data.qcow2",
              {u32(0x74, std::string_view(name).size()), {0x78, name}});
}

void add_flips(Cases& cases) {
  struct Area {
    const char* base;
    std::vector<std::uint64_t> starts;
  };
  const std::vector<Area> areas = {
      {"plain.qcow2", {0, 16, 0x70, kTable, kBlock, kL1, kL2}},
      {"snap.qcow2", {0, kL1, kL2, 0x70000, 0x80000}},
      {"bitmaps.qcow2", {0x1f8, 0x40000, 0x50000}},
      {"extended.qcow2", {0, kL1, kL2}},
      {"zlib.qcow2", {kL2, 0x50000}},
      {"luks.qcow2", {0x70, 0x40000}},
  };
  sim::Rng rng(77);
  for (const Area& area : areas) {
    for (unsigned i = 0; i < 20; ++i) {
      std::vector<Patch> patches;
      for (std::uint64_t flips = 1 + rng.below(4); flips > 0; --flips)
        patches.push_back(
            u8(area.starts[rng.below(area.starts.size())] + rng.below(32), rng.below(256)));
      cases.add(fmt::format("flips_{}_{}", area.base, i), area.base, patches);
    }
  }
}

}  // namespace

std::vector<std::string> base_lines() {
  const std::string write = "qemu-io -f qcow2 -c 'write -P 1 0 200k' -c 'write -P 2 600k 10k'";
  const std::string secret = "--object secret,id=s,data=correct";
  const std::string luks =
      "qemu-img create -q -f qcow2 " + secret +
      " -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=100 luks.qcow2 1M";
  return {
      "qemu-img create -q -f qcow2 plain.qcow2 1M",
      write + " plain.qcow2 >/dev/null",
      "qemu-img create -q -f qcow2 large.qcow2 1T",
      write + " large.qcow2 >/dev/null",
      "qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 1M",
      write + " old.qcow2 >/dev/null",
      "qemu-img create -q -f qcow2 -o extended_l2=on extended.qcow2 1M",
      write + " extended.qcow2 >/dev/null",
      "qemu-img create -q -f qcow2 zlib.qcow2 1M",
      "qemu-img create -q -f qcow2 -o compression_type=zstd zstd.qcow2 1M",
      "for i in zlib zstd; do qemu-io -c 'write -c -P 5 0 64k' -c 'write -c -P 6 64k 64k' "
      "$i.qcow2 >/dev/null; done",  // NOLINT(bugprone-suspicious-missing-comma)
      "qemu-img create -q -f qcow2 snap.qcow2 1M",
      "qemu-io -c 'write -P 1 0 64k' -c 'write -P 1 64k 64k' snap.qcow2 >/dev/null",
      "qemu-img snapshot -c first snap.qcow2",
      "qemu-img create -q -f qcow2 bitmaps.qcow2 1M",
      "qemu-img bitmap --add bitmaps.qcow2 bit0",
      until_measured(luks),
      "qemu-img create -q -f raw base.raw 1M",
      "qemu-img create -q -f qcow2 -b base.raw -F raw over.qcow2",
      "qemu-img create -q -f qcow2 base5.qcow2 1M",
      "qemu-img create -q -f qcow2 -b base5.qcow2 -F qcow2 over5.qcow2",
      "qemu-img create -q -f qcow2 -b base.raw -F raw unprobed.qcow2",
      "printf '\\0\\0\\0\\0' | dd of=unprobed.qcow2 bs=1 seek=112 conv=notrunc status=none",
      "printf '\\125\\125\\0\\1' | dd of=unprobed.qcow2 bs=1 seek=112 conv=notrunc status=none",
      "qemu-img create -q -f qcow2 -o data_file=d.raw data.qcow2 1M",
      write + " data.qcow2 >/dev/null",
  };
}

std::vector<HostileImage> hostile_images() {
  Cases cases;
  add_header_fields(cases);
  add_extensions(cases);
  add_tables(cases);
  add_compressed(cases);
  add_snapshots(cases);
  add_bitmaps(cases);
  add_luks(cases);
  add_subclusters(cases);
  add_cut(cases);
  add_names(cases);
  add_flips(cases);
  return cases.take();
}

}  // namespace differential
