#include "sim/image/recognise.h"

#include <algorithm>
#include <array>

#include "sim/qcow2/format.h"

namespace sim::image {

namespace {

struct Magic {
  std::string_view format;
  std::size_t at;
  std::string_view bytes;
};
// The formats' published signatures; the first that fits counts.
constexpr std::array kMagics = {
    Magic{"qed", 0, std::string_view("QED\0", 4)},
    Magic{"vmdk", 0, "KDMV"},
    Magic{"vmdk", 0, "COWD"},
    Magic{"vmdk", 0, "# Disk DescriptorFile"},
    Magic{"vdi", 64, "\x7f\x10\xda\xbe"},
    Magic{"vhdx", 0, "vhdxfile"},
    Magic{"vpc", 0, "conectix"},
    Magic{"luks", 0, std::string_view("LUKS\xba\xbe\0\x01", 8)},
    Magic{"parallels", 0, "WithoutFreeSpace"},
    Magic{"parallels", 0, "WithouFreSpacExt"},
    Magic{"bochs", 0, "Bochs Virtual HD Image"},
    Magic{"cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"},
};
constexpr std::array<std::string_view, 12> kOthers = {"bochs",     "cloop", "dmg", "luks",
                                                      "parallels", "qcow",  "qed", "vdi",
                                                      "vhdx",      "vmdk",  "vpc", "vvfat"};

}  // namespace

std::string_view recognise(Bytes start) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  if (start.size() >= 8 && load_be<std::uint32_t>(start, 0) == qcow2::format::kMagic) {
    const auto version = load_be<std::uint32_t>(start, 4);  // QEMU: later ones are refused by it
    return version == 0 ? "raw" : version == 1 ? "qcow" : "qcow2";
  }
  for (const Magic& magic : kMagics)
    if (text.size() >= magic.at && text.substr(magic.at).starts_with(magic.bytes))
      return magic.format;
  return "raw";
}

bool is_other_format(std::string_view name) {
  return std::ranges::find(kOthers, name) != kOthers.end();
}

}  // namespace sim::image
