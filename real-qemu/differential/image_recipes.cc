#include "real-qemu/differential/image_recipes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

#include "real-qemu/differential/shell.h"
#include "sim/base/bytes.h"
#include "sim/base/size.h"
#include "sim/world/rng.h"

namespace differential {

namespace {

using sim::Rng;
using sim::operator""_KiB;
using sim::operator""_MiB;

// A name that GoogleTest takes.
std::string word(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return text;
}

struct Script {
  std::uint64_t size = 0;
  std::uint64_t cluster = 65536;
  bool compressed = false;
  bool discards = true;
  bool aligned = false;  // whole sectors only
};

// One request that stays within the disk.
std::string draw_request(Rng& rng, const Script& script) {
  const std::uint64_t unit = script.aligned || rng.below(3) > 0 ? 512 : 1;
  const std::uint64_t longest = std::min<std::uint64_t>(script.size, script.cluster * 3 + 4096);
  std::uint64_t length = std::max(unit, rng.below(longest) / unit * unit);
  std::uint64_t at = rng.below(script.size - length + 1) / unit * unit;
  // Half of the requests crowd at the start, so that they meet each other.
  if (rng.below(2) == 0) at %= std::max<std::uint64_t>(script.cluster * 8, 1);
  length = std::min(length, script.size - at);
  const std::uint64_t kind = rng.below(10);
  if (kind < 5 || (kind == 9 && !script.compressed) || (kind == 8 && !script.discards))
    return fmt::format("write -P {} {} {}", 1 + rng.below(255), at, length);
  if (kind == 5) return fmt::format("write -z {} {}", at, length);
  if (kind == 6) return fmt::format("write -z -u {} {}", at, length);
  if (kind == 7) return "flush";
  if (kind == 8) return fmt::format("discard {} {}", at, length);
  const std::uint64_t clusters = script.size / script.cluster;
  if (clusters == 0) return "flush";
  return fmt::format("write -c -P {} {} {}", 1 + rng.below(255),
                     rng.below(clusters) * script.cluster, script.cluster);
}

// A session of `requests` requests on `image`.
//
// Compressed writes come before or after all others: where a cluster of compressed data is given up
// and another compressed write follows, QEMU 7.2 goes on writing into it though it may hold other
// data by then (sim/qcow2 has a test).
std::string session(Rng& rng, const Script& script, unsigned requests, std::string_view image,
                    std::string_view access = {}) {
  std::string line = "$IO";
  if (script.size == 0) return "true";
  std::vector<std::string> compressed, others;
  for (unsigned i = 0; i < requests; ++i) {
    std::string request = draw_request(rng, script);
    (request.starts_with("write -c") ? compressed : others).push_back(std::move(request));
  }
  const bool last = rng.below(2) == 0;
  std::vector<std::string> drawn = last ? others : compressed;
  std::ranges::copy(last ? compressed : others, std::back_inserter(drawn));
  for (const std::string& request : drawn) line += fmt::format(" -c '{}'", request);
  // A request may be refused (a compressed write over data is): then by both.
  return fmt::format("{} {} >/dev/null 2>&1 || echo refused >>refused", line,
                     access.empty() ? fmt::format("-f qcow2 {}", image) : std::string(access));
}

std::string create(std::string_view options, std::string_view size,
                   std::string_view image = "i.qcow2") {
  return fmt::format("$IMG create -q -f qcow2 {} {} {}",
                     options.empty() ? std::string() : fmt::format("-o {}", options), image, size);
}

std::string overlay(std::string_view options, std::string_view backing, std::string_view format,
                    std::string_view image, std::string_view size = {}) {
  return fmt::format("$IMG create -q -f qcow2 {} -b {} -F {} {} {}",
                     options.empty() ? std::string() : fmt::format("-o {}", options), backing,
                     format, image, size);
}

class Book {
 public:
  explicit Book(std::uint64_t seed) : rng_(seed) {}
  Rng fork() { return rng_.fork(); }
  ImageRecipe& add(std::string name, std::vector<std::string> lines) {
    recipes_.push_back({.name = word(std::move(name)), .lines = std::move(lines)});
    return recipes_.back();
  }
  std::vector<ImageRecipe> take() { return std::move(recipes_); }

 private:
  Rng rng_;
  std::vector<ImageRecipe> recipes_;
};

constexpr std::array<std::uint64_t, 13> kClusters = {
    512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152};

std::string cluster_option(std::uint64_t cluster) {
  return fmt::format("cluster_size={}", cluster);
}

// A disk of a few clusters, with an end that is not a whole one now and then.
std::uint64_t draw_size(Rng& rng, std::uint64_t cluster) {
  const std::uint64_t size = cluster * (4 + rng.below(60)) + 512 * rng.below(3) * rng.below(9);
  return std::min<std::uint64_t>(size, 24_MiB);
}

// Every cluster size with every version, empty and written.
void add_clusters(Book& book) {
  for (const std::uint64_t cluster : kClusters) {
    for (const char* compat : {"0.10", "1.1"}) {
      Rng rng = book.fork();
      const std::string options = fmt::format("compat={},{}", compat, cluster_option(cluster));
      const std::uint64_t size = draw_size(rng, cluster);
      const Script script = {.size = size, .cluster = cluster, .compressed = false};
      book.add(fmt::format("cluster_{}_compat_{}", cluster, compat),
               {create(options, std::to_string(size)), session(rng, script, 14, "i.qcow2"),
                session(rng, script, 6, "i.qcow2")});
    }
  }
}

void add_sizes(Book& book) {
  for (const std::string_view size : {"0", "1", "511", "512", "513", "65535", "65536", "65537",
                                      "100000", "1048575", "1048577", "3145728"})
    book.add(
        fmt::format("size_{}", size),
        {create("", size), size == "0" ? "true" : "$IO -c 'write -P 7 0 512' i.qcow2 || true"});
  struct Huge {
    const char* cluster;
    const char* size;
  };
  for (const Huge huge : {Huge{"512", "128G"}, Huge{"4k", "8T"}, Huge{"64k", "1T"},
                          Huge{"64k", "1P"}, Huge{"512k", "1P"}, Huge{"2M", "4P"}})
    book.add(fmt::format("huge_{}_{}", huge.cluster, huge.size),
             {create(fmt::format("cluster_size={}", huge.cluster), huge.size),
              "$IO -c 'write -P 3 1M 4k' -c 'write -P 4 100G 8k' -c 'write -z 1G 1M' i.qcow2 "
              ">/dev/null"})
        .has_content = false;
}

void add_refcounts(Book& book) {
  for (const unsigned bits : {1U, 2U, 4U, 8U, 16U, 32U, 64U}) {
    for (const std::uint64_t cluster : {std::uint64_t{512}, 4_KiB, 64_KiB}) {
      Rng rng = book.fork();
      const std::uint64_t size = std::min<std::uint64_t>(cluster * 600, 8_MiB);
      const Script script = {.size = size, .cluster = cluster, .compressed = bits > 1};
      book.add(fmt::format("refcount_{}_cluster_{}", bits, cluster),
               {create(fmt::format("refcount_bits={},cluster_size={}", bits, cluster),
                       std::to_string(size)),
                session(rng, script, 20, "i.qcow2"), session(rng, script, 8, "i.qcow2")});
    }
  }
  for (const std::uint64_t size :
       {std::uint64_t{20} << 20, std::uint64_t{40} << 20})  // the table grows
    book.add(fmt::format("refcount_table_grows_{}", size),
             {create("cluster_size=512", std::to_string(size)),
              fmt::format("$IO -c 'write -P 5 0 {}' i.qcow2 >/dev/null", size),
              "$IO -c 'discard 1M 2M' -c 'write -P 6 3M 100k' i.qcow2 >/dev/null"});
}

void add_subclusters(Book& book) {
  for (const std::uint64_t cluster : kClusters) {
    if (cluster < 16384) continue;
    for (unsigned variant = 0; variant < 3; ++variant) {
      Rng rng = book.fork();
      const std::uint64_t size = draw_size(rng, cluster);
      const Script script = {.size = size, .cluster = cluster, .compressed = variant == 2};
      std::vector<std::string> lines;
      const std::string options = fmt::format("extended_l2=on,{}", cluster_option(cluster));
      if (variant == 1) {
        lines.push_back(create("", std::to_string(size), "b.qcow2"));
        lines.push_back(session(rng, script, 6, "b.qcow2"));
        lines.push_back(overlay(options, "b.qcow2", "qcow2", "i.qcow2"));
      } else {
        lines.push_back(create(options, std::to_string(size)));
      }
      lines.push_back(session(rng, script, 14, "i.qcow2"));
      lines.push_back(session(rng, script, 6, "i.qcow2"));
      book.add(fmt::format("subclusters_{}_{}", cluster, variant), lines).for_releases = true;
    }
  }
}

void add_compression(Book& book) {
  for (const std::string_view type : {"zlib", "zstd"}) {
    for (const std::uint64_t cluster : {std::uint64_t{512}, 4_KiB, 64_KiB, 2_MiB}) {
      Rng rng = book.fork();
      const std::uint64_t size = std::min<std::uint64_t>(cluster * 40, 16_MiB);
      const Script script = {.size = size, .cluster = cluster, .compressed = true};
      const std::string options = fmt::format("compression_type={},cluster_size={}", type, cluster);
      book.add(fmt::format("compressed_{}_{}", type, cluster),
               {create(options, std::to_string(size)), session(rng, script, 24, "i.qcow2"),
                session(rng, script, 12, "i.qcow2")});
      const Script plain = {.size = size, .cluster = cluster};
      book.add(fmt::format("converted_{}_{}", type, cluster),
               {create(cluster_option(cluster), std::to_string(size), "s.qcow2"),
                session(rng, plain, 20, "s.qcow2"),
                fmt::format("$IMG convert -c -O qcow2 -o {} s.qcow2 i.qcow2", options)});
    }
  }
}

void add_preallocation(Book& book) {
  for (const std::string_view mode : {"metadata", "falloc", "full"}) {
    for (const std::string_view size : {"100000", "1M", "6M"}) {
      for (const std::uint64_t cluster : {std::uint64_t{512}, 4_KiB, 64_KiB, 1_MiB})
        book.add(fmt::format("prealloc_{}_{}_{}", mode, size, cluster),
                 {create(fmt::format("preallocation={},cluster_size={}", mode, cluster), size),
                  "$IO -c 'write -P 9 1k 5k' -c 'write -z 64k 20k' -c 'discard 8k 16k' i.qcow2 "
                  ">/dev/null"});
    }
  }
  book.add("prealloc_metadata_subclusters", {create("preallocation=metadata,extended_l2=on", "2M"),
                                             "$IO -c 'write -P 9 1k 5k' i.qcow2 >/dev/null"});
}

void add_data_files(Book& book) {
  for (const std::string_view raw : {"off", "on"}) {
    for (const std::uint64_t cluster : {std::uint64_t{512}, 4_KiB, 64_KiB}) {
      for (const std::string_view more : {"", ",extended_l2=on"}) {
        if (!more.empty() && cluster < 16384) continue;
        Rng rng = book.fork();
        const std::uint64_t size = cluster * 50;
        const Script script = {.size = size, .cluster = cluster};
        book.add(fmt::format("data_file_{}_{}_{}", raw, cluster, more),
                 {create(fmt::format("data_file=d.raw,data_file_raw={},cluster_size={}{}", raw,
                                     cluster, more),
                         std::to_string(size)),
                  session(rng, script, 16, "i.qcow2"), session(rng, script, 6, "i.qcow2")});
      }
    }
  }
}

void add_lazy(Book& book) {
  for (unsigned variant = 0; variant < 4; ++variant) {
    Rng rng = book.fork();
    const Script script = {
        .size = 4_MiB, .cluster = variant < 2 ? 65536U : 4096U, .compressed = variant % 2 == 1};
    book.add(
        fmt::format("lazy_{}", variant),
        {create(variant < 2 ? "lazy_refcounts=on" : "lazy_refcounts=on,cluster_size=4096", "4M"),
         session(rng, script, 12, "i.qcow2"), session(rng, script, 5, "i.qcow2")});
  }
}

void add_snapshots(Book& book) {
  for (const std::uint64_t cluster : {std::uint64_t{512}, 4_KiB, 64_KiB}) {
    for (const std::string_view more :
         {"", ",compat=0.10", ",extended_l2=on", ",refcount_bits=8"}) {
      if (more == ",extended_l2=on" && cluster < 16384) continue;
      Rng rng = book.fork();
      const std::uint64_t size = cluster * 70;
      const Script script = {.size = size, .cluster = cluster, .compressed = more.empty()};
      std::vector<std::string> lines = {
          create(fmt::format("cluster_size={}{}", cluster, more), std::to_string(size)),
          session(rng, script, 8, "i.qcow2"),
          "$IMG snapshot -c one i.qcow2",
          session(rng, script, 8, "i.qcow2"),
          "$IMG snapshot -c two i.qcow2",
          session(rng, script, 8, "i.qcow2")};
      ImageRecipe& kept = book.add(fmt::format("snapshots_{}_{}", cluster, more), lines);
      kept.same_bytes = false;  // the date
      lines.insert(lines.end(), {"$IMG snapshot -a one i.qcow2", session(rng, script, 6, "i.qcow2"),
                                 "$IMG snapshot -d two i.qcow2", "$IMG snapshot -d one i.qcow2",
                                 session(rng, script, 6, "i.qcow2")});
      book.add(fmt::format("snapshots_gone_{}_{}", cluster, more), lines).same_bytes = false;
    }
  }
}

void add_bitmaps(Book& book) {
  for (const std::uint64_t cluster : {std::uint64_t{512}, 4_KiB, 64_KiB}) {
    for (const std::string_view granularity : {"512", "4k", "64k"}) {
      Rng rng = book.fork();
      const std::uint64_t size = cluster * 90;
      const Script script = {.size = size, .cluster = cluster};
      book.add(fmt::format("bitmaps_{}_{}", cluster, granularity),
               {create(cluster_option(cluster), std::to_string(size)),
                fmt::format("$IMG bitmap --add -g {} i.qcow2 a", granularity),
                session(rng, script, 7, "i.qcow2"), "$IMG bitmap --add --disable i.qcow2 bee",
                session(rng, script, 7, "i.qcow2"), "$IMG bitmap --enable i.qcow2 bee",
                session(rng, script, 4, "i.qcow2"), "$IMG bitmap --add i.qcow2 c",
                "$IMG bitmap --merge a --disable i.qcow2 c", "$IMG bitmap --remove i.qcow2 bee"});
    }
  }
}

void add_chains(Book& book) {
  struct Shape {
    const char* name;
    std::uint64_t base, top;  // sizes
    const char* options;
  };
  const std::array shapes = {
      Shape{"equal", 3_MiB, 3_MiB, ""},
      Shape{"shorter", 1_MiB + 512, 3_MiB, ""},
      Shape{"longer", 5_MiB, 2_MiB + 1536, ""},
      Shape{"small_clusters", 2_MiB, 2_MiB, "cluster_size=4k"},
      Shape{"large_clusters", 3_MiB + 512, 3_MiB, "cluster_size=1M"},
      Shape{"old", 3_MiB, 3_MiB, "compat=0.10"},
  };
  for (const Shape& shape : shapes) {
    for (const std::string_view format : {"raw", "qcow2"}) {
      Rng rng = book.fork();
      const Script below = {.size = shape.base, .cluster = 65536};
      const Script above = {.size = shape.top, .cluster = 65536};
      std::vector<std::string> lines;
      if (format == "raw") {
        lines.push_back(fmt::format("$IMG create -q -f raw b.img {}", shape.base));
        lines.push_back("$IO -f raw -c 'write -P 1 0 1M' -c 'write -P 2 700k 9k' b.img >/dev/null");
      } else {
        lines.push_back(create("", std::to_string(shape.base), "b.img"));
        lines.push_back(session(rng, below, 10, "b.img"));
      }
      lines.push_back(overlay("", "b.img", format, "m.qcow2"));
      lines.push_back(session(rng, below, 6, "m.qcow2"));
      lines.push_back(
          overlay(shape.options, "m.qcow2", "qcow2", "i.qcow2", std::to_string(shape.top)));
      lines.push_back(session(rng, above, 10, "i.qcow2"));
      book.add(fmt::format("chain_{}_{}", shape.name, format), lines);
    }
  }
}

void add_long_chains(Book& book) {
  for (const unsigned depth : {8U, 32U, 100U, 190U}) {
    Rng rng = book.fork();
    std::vector<std::string> lines = {create("", "2M", "l0.qcow2"),
                                      "$IO -c 'write -P 1 0 2M' l0.qcow2 >/dev/null"};
    for (unsigned i = 1; i < depth; ++i) {
      const std::string name = i + 1 == depth ? "i.qcow2" : fmt::format("l{}.qcow2", i);
      // Named without opening what is below: that takes a second for the deepest.
      lines.push_back(
          fmt::format("$IMG create -q -u -f qcow2 -b l{}.qcow2 -F qcow2 {} 2M", i - 1, name));
      if (i % 5 == 0 || i + 1 == depth)
        lines.push_back(fmt::format("$IO -c 'write -P {} {}k 70k' {} >/dev/null", i % 256,
                                    rng.below(1900), name));
    }
    book.add(fmt::format("chain_of_{}", depth), lines);
  }
}

// What the commands do to chains.
void add_commands(Book& book) {
  for (unsigned variant = 0; variant < 6; ++variant) {
    Rng rng = book.fork();
    const std::uint64_t base_size = variant % 3 == 1 ? 1_MiB + 512 : 3_MiB;
    const Script below = {.size = base_size, .cluster = 65536};
    const Script above = {.size = 3_MiB, .cluster = 65536};
    const std::vector<std::string> chain = {
        create(variant < 3 ? "" : "cluster_size=4k", std::to_string(base_size), "b.qcow2"),
        session(rng, below, 8, "b.qcow2"),
        overlay("", "b.qcow2", "qcow2", "m.qcow2", "3M"),
        session(rng, above, 8, "m.qcow2"),
        overlay(variant == 2 ? "extended_l2=on" : "", "m.qcow2", "qcow2", "i.qcow2"),
        session(rng, above, 8, "i.qcow2")};
    const auto with = [&](std::string name, std::vector<std::string> more) -> ImageRecipe& {
      std::vector<std::string> lines = chain;
      lines.insert(lines.end(), more.begin(), more.end());
      return book.add(fmt::format("{}_{}", name, variant), lines);
    };
    // QEMU commits by a mirror job: parallel requests, whose clusters fall where they may.
    with("commit", {"$IMG commit -q -f qcow2 i.qcow2"}).same_bytes = false;
    with("commit_keeps", {"$IMG commit -q -d -f qcow2 i.qcow2"}).same_bytes = false;
    ImageRecipe& base = with("commit_base", {"$IMG commit -q -b b.qcow2 -f qcow2 i.qcow2"});
    base.image = "b.qcow2";
    base.same_bytes = false;
    with("rebase", {"$IMG rebase -q -f qcow2 -b b.qcow2 -F qcow2 i.qcow2"});
    with("rebase_nothing", {"$IMG rebase -q -f qcow2 -b '' i.qcow2"});
    with("rebase_unsafe", {"$IMG rebase -q -u -f qcow2 -b b.qcow2 -F qcow2 i.qcow2"});
    with("converted", {"$IMG convert -f qcow2 -O qcow2 i.qcow2 c.qcow2"}).image = "c.qcow2";
    with("converted_over", {"$IMG convert -f qcow2 -O qcow2 -B b.qcow2 -F qcow2 i.qcow2 c.qcow2"})
        .image = "c.qcow2";
  }
}

void add_resized(Book& book) {
  struct Change {
    const char* from;
    const char* to;
    const char* options;
  };
  const std::array changes = {
      Change{"1M", "3M", ""},
      Change{"64M", "600M", ""},
      Change{"3M", "--shrink 1M", ""},
      Change{"1M", "+512", "cluster_size=512"},
      Change{"1M", "70M", "cluster_size=512"},
      Change{"2M", "--shrink 700k", "extended_l2=on"},
      Change{"1M", "--preallocation=metadata 2M", ""},
      Change{"1M", "2M", "compat=0.10"},
      Change{"1M", "--preallocation=falloc 2M", ""},
      Change{"1M", "--preallocation=full 2M", ""},
      Change{"3M", "--shrink 512", ""},
      Change{"1M", "2M", "data_file=d.raw"},
      Change{"1M", "2M", "data_file=d.raw,data_file_raw=on"},
  };
  unsigned number = 0;
  for (const Change& change : changes) {
    Rng rng = book.fork();
    const Script script = {.size = 1_MiB, .cluster = 65536};
    std::string to = change.to;
    std::string before;
    if (const std::size_t space = to.rfind(' '); space != std::string::npos) {
      before = to.substr(0, space);
      to = to.substr(space + 1);
    }
    book.add(fmt::format("resized_{}", number++),
             {create(change.options, change.from), session(rng, script, 8, "i.qcow2"),
              fmt::format("$IMG resize -q {} -f qcow2 i.qcow2 {}", before, to)})
        .has_content = std::string_view(change.to) != "600M";
  }
  book.add(
      "resized_over_longer",
      {create("", "4M", "b.qcow2"), "$IO -c 'write -P 8 0 4M' b.qcow2 >/dev/null",
       overlay("", "b.qcow2", "qcow2", "i.qcow2", "96k"), "$IMG resize -q -f qcow2 i.qcow2 1M"});
}

void add_amended(Book& book) {
  unsigned number = 0;
  for (const std::string_view change :
       {"compat=0.10", "lazy_refcounts=on", "refcount_bits=1", "refcount_bits=64",
        "refcount_bits=8", "compat=0.10 -o compat=1.1"}) {
    Rng rng = book.fork();
    const Script script = {.size = 2_MiB, .cluster = 65536};
    const Script more = {.size = 2_MiB, .cluster = 65536, .compressed = false};
    book.add(fmt::format("amended_{}", number++),
             {create("", "2M"), session(rng, script, 8, "i.qcow2"),
              fmt::format("$IMG amend -q -f qcow2 -o {} i.qcow2", change),
              session(rng, more, 5, "i.qcow2")});
  }
}

void add_encrypted(Book& book) {
  const std::string secret = "--object secret,id=s,data=correct";
  const std::string access =
      secret +
      " --image-opts driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=i.qcow2";
  unsigned number = 0;
  for (const std::string_view options :
       {"encrypt.format=luks", "encrypt.format=luks,cluster_size=4096",
        "encrypt.format=luks,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg="
        "essiv,encrypt.ivgen-hash-alg=sha256",
        "encrypt.format=luks,encrypt.hash-alg=sha1,encrypt.cipher-alg=aes-256,encrypt.cipher-mode="
        "cbc,encrypt.ivgen-alg=plain",
        "encrypt.format=luks,extended_l2=on", "encrypt.format=luks,compat=0.10",
        "encrypt.format=aes", "encrypt.format=aes,cluster_size=512"}) {
    Rng rng = book.fork();
    const Script script = {.size = 1_MiB, .cluster = 65536};
    const bool luks = options.find("luks") != std::string_view::npos;
    const std::string make =
        fmt::format("$IMG create -q -f qcow2 {} -o {},encrypt.key-secret=s{} i.qcow2 1M", secret,
                    options, luks ? ",encrypt.iter-time=100" : "");
    ImageRecipe& recipe =
        book.add(fmt::format("encrypted_{}", number++),
                 {until_measured(make), session(rng, script, 10, "i.qcow2", access),
                  session(rng, script, 4, "i.qcow2", access)});
    recipe.access = access;
    recipe.same_bytes = !luks;  // keys and salts are drawn
    recipe.for_releases = luks;
  }
}

// Whatever the tables above have not thought of.
void add_random(Book& book) {
  for (unsigned i = 0; i < 40; ++i) {
    Rng rng = book.fork();
    const std::uint64_t cluster = kClusters[rng.below(10)];
    const std::uint64_t size = draw_size(rng, cluster);
    std::string options = cluster_option(cluster);
    const bool extended = cluster >= 16384 && rng.below(3) == 0;
    if (extended) options += ",extended_l2=on";
    if (rng.below(4) == 0) options += ",lazy_refcounts=on";
    if (rng.below(3) == 0) options += ",compression_type=zstd";
    if (rng.below(3) == 0) options += fmt::format(",refcount_bits={}", 4U << rng.below(4));
    const Script script = {.size = size, .cluster = cluster, .compressed = rng.below(2) == 0};
    std::vector<std::string> lines;
    if (rng.below(2) == 0) {
      lines.push_back(create("", std::to_string(size + 512 * rng.below(99)), "b.qcow2"));
      lines.push_back(session(rng, script, 8, "b.qcow2"));
      lines.push_back(overlay(options, "b.qcow2", "qcow2", "i.qcow2", std::to_string(size)));
    } else {
      lines.push_back(create(options, std::to_string(size)));
    }
    for (std::uint64_t sessions = 1 + rng.below(3); sessions > 0; --sessions)
      lines.push_back(session(rng, script, static_cast<unsigned>(4 + rng.below(20)), "i.qcow2"));
    book.add(fmt::format("random_{}", i), lines);
  }
}

}  // namespace

std::vector<ImageRecipe> image_recipes() {
  Book book(20250101);
  add_clusters(book);
  add_sizes(book);
  add_refcounts(book);
  add_subclusters(book);
  add_compression(book);
  add_preallocation(book);
  add_data_files(book);
  add_lazy(book);
  add_snapshots(book);
  add_bitmaps(book);
  add_chains(book);
  add_long_chains(book);
  add_commands(book);
  add_resized(book);
  add_amended(book);
  add_encrypted(book);
  add_random(book);
  return book.take();
}

}  // namespace differential
