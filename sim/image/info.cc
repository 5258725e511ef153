#include "sim/image/info.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "sim/base/text.h"
#include "sim/image/open.h"
#include "sim/image/texts.h"
#include "sim/qcow2/describe.h"
#include "sim/qcow2/encryption.h"

namespace sim::image {

namespace {

// The order in which qemu-img 7.2 prints members of "format-specific" (its dictionaries' own).
constexpr std::array<std::string_view, 27> kPrintOrder = {"compat",         "compression-type",
                                                          "lazy-refcounts", "bitmaps",
                                                          "flags",          "name",
                                                          "granularity",    "refcount-bits",
                                                          "data-file",      "encrypt",
                                                          "ivgen-alg",      "hash-alg",
                                                          "cipher-alg",     "uuid",
                                                          "ivgen-hash-alg", "format",
                                                          "cipher-mode",    "slots",
                                                          "active",         "iters",
                                                          "key-offset",     "stripes",
                                                          "payload-offset", "master-key-iters",
                                                          "data-file-raw",  "corrupt",
                                                          "extended-l2"};

// Members of a dictionary in qemu-img's order, "key: value" with four blanks for each level.
std::string dump(const Json& value, std::size_t level);

std::string dump_member(std::string_view key, const Json& value, std::size_t level) {
  return fmt::format("{:{}}{}:{}{}", "", level * 4, key, value.is_structured() ? "\n" : " ",
                     dump(value, level + 1));
}

std::string dump(const Json& value, std::size_t level) {
  std::string text;
  if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i)
      text += dump_member(fmt::format("[{}]", i), value[i], level);
  } else if (value.is_object()) {
    for (const std::string_view key : kPrintOrder)
      if (const auto found = value.find(key); found != value.end())
        text += dump_member(replace_all(std::string(key), "-", " "), *found, level);
  } else {
    text = (value.is_string() ? value.get<std::string>() : value.dump()) + "\n";
  }
  return text;
}

}  // namespace

Json snapshot_info(const qcow2::Snapshot& snapshot) {
  Json info = {{"id", snapshot.id},
               {"name", snapshot.name},
               {"vm-state-size", snapshot.vm_state_bytes},
               {"date-sec", snapshot.date_seconds},
               {"date-nsec", snapshot.date_nanoseconds},
               {"vm-clock-sec", snapshot.vm_clock_ns / 1'000'000'000},
               {"vm-clock-nsec", snapshot.vm_clock_ns % 1'000'000'000}};
  if (snapshot.icount != UINT64_MAX) info["icount"] = snapshot.icount;
  return info;
}

Task<Result<Json>> image_info(Layer& layer) {
  Json info = {{"filename", layer.shown_name()},
               {"format", layer.format()},
               {"virtual-size", layer.size()},
               {"actual-size", layer.file()->allocated()},
               {"dirty-flag", false}};
  qcow2::Image* image = layer.qcow2();
  if (image == nullptr) co_return info;
  const qcow2::Header& header = image->header();
  info["cluster-size"] = layer.cluster_size();
  info["dirty-flag"] = header.is_dirty();
  if (header.crypt_method != 0) info["encrypted"] = true;
  if (!header.backing_file.empty()) {
    info["backing-filename"] = header.backing_file;
    info["full-backing-filename"] = compose_name(layer.name(), header.backing_file);
    if (!header.backing_format.empty()) info["backing-filename-format"] = header.backing_format;
  }
  if (!image->snapshots().empty()) info["snapshots"] = nullptr;
  Json specific = qcow2::describe(*image);
  if (header.crypt_method != 0) {
    CO_TRY(const auto luks, co_await qcow2::read_luks(*layer.file(), header));
    specific["encrypt"] = qcow2::describe_encryption(luks);
  }
  info["format-specific"] = {{"type", "qcow2"}, {"data", std::move(specific)}};
  co_return info;
}

std::string info_text(Layer& layer, const Json& info, const UtcOffset& utc_offset) {
  const auto text_of = [&](const char* key) { return info.value(key, std::string()); };
  std::string text =
      fmt::format("image: {}\nfile format: {}\nvirtual size: {} ({} bytes)\ndisk size: {}\n",
                  text_of("filename"), layer.format(), human_size(layer.size()), layer.size(),
                  human_size(info["actual-size"].get<std::uint64_t>()));
  if (info.contains("encrypted")) text += "encrypted: yes\n";
  if (layer.cluster_size() != 0) text += fmt::format("cluster_size: {}\n", layer.cluster_size());
  if (info.value("dirty-flag", false)) text += "cleanly shut down: no\n";
  if (info.contains("backing-filename")) {
    text += fmt::format("backing file: {}", text_of("backing-filename"));
    if (text_of("full-backing-filename") != text_of("backing-filename"))
      text += fmt::format(" (actual path: {})", text_of("full-backing-filename"));
    text += '\n';
    if (info.contains("backing-filename-format"))
      text += fmt::format("backing file format: {}\n", text_of("backing-filename-format"));
  }
  if (info.contains("snapshots"))
    text += "Snapshot list:\n" + snapshot_table(layer.qcow2()->snapshots(), utc_offset);
  if (info.contains("format-specific"))
    text += "Format specific information:\n" + dump(info["format-specific"]["data"], 1);
  return text;
}

}  // namespace sim::image
