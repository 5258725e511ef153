#include "sim/qcow2/describe.h"

#include <vector>

namespace sim::qcow2 {

namespace {

Json bitmaps_json(const std::vector<BitmapInfo>& bitmaps) {
  Json list = Json::array();
  for (const BitmapInfo& bitmap : bitmaps) {
    Json flags = Json::array();
    if (bitmap.in_use) flags.push_back("in-use");
    if (bitmap.enabled) flags.push_back("auto");
    list.push_back({{"name", bitmap.name},
                    {"granularity", bitmap.granularity()},
                    {"flags", std::move(flags)}});
  }
  return list;
}

Json slots_json(const crypto::LuksHeader& luks) {
  Json list = Json::array();
  for (const crypto::LuksSlot& slot : luks.slots) {
    Json entry = {{"active", slot.active},
                  {"key-offset", slot.material_sector * crypto::SectorCipher::kSector}};
    if (slot.active) {
      entry["iters"] = slot.iterations;
      entry["stripes"] = crypto::luks::kStripes;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace

Json describe_encryption(const std::optional<crypto::LuksHeader>& luks) {
  if (!luks) return {{"format", "aes"}};
  const crypto::CipherSpec& cipher = luks->cipher;
  Json encrypt = {{"format", "luks"},
                  {"cipher-alg", cipher.algorithm},
                  {"cipher-mode", cipher.mode},
                  {"ivgen-alg", cipher.ivgen},
                  {"hash-alg", luks->hash->name()},
                  {"payload-offset", luks->payload_sector * crypto::SectorCipher::kSector},
                  {"master-key-iters", luks->iterations},
                  {"uuid", luks->uuid},
                  {"slots", slots_json(*luks)}};
  if (cipher.ivgen == "essiv") encrypt["ivgen-hash-alg"] = cipher.ivgen_hash;
  return encrypt;
}

Json describe(const Image& image) {
  const Header& header = image.header();
  Json data = {{"compat", header.version < 3 ? "0.10" : "1.1"},
               {"compression-type", header.compression_type == 0 ? "zlib" : "zstd"},
               {"refcount-bits", std::uint64_t{1} << header.refcount_order}};
  if (header.version >= 3) {
    data["lazy-refcounts"] = header.has_lazy_refcounts();
    data["corrupt"] = header.is_corrupt();
    data["extended-l2"] = header.has_extended_l2();
    if (!image.bitmaps().empty()) data["bitmaps"] = bitmaps_json(image.bitmaps());
    if (header.has_data_file()) {
      data["data-file"] = header.data_file;
      data["data-file-raw"] = header.has_raw_data_file();
    }
  }
  return data;
}

}  // namespace sim::qcow2
