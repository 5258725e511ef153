#include "conformance/target/hypervisor.h"

#include <charconv>

namespace conformance {
namespace {

// Without the line ends around it.
std::string trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \r\n");
  if (from == std::string_view::npos) return {};
  return std::string(text.substr(from, text.find_last_not_of(" \r\n") - from + 1));
}

// qemu-io's report of a whole request: "wrote 65536/65536 bytes at offset 131072".
std::string report(std::string_view done, std::uint64_t offset, std::uint64_t length) {
  const std::string bytes = std::to_string(length);
  return std::string(done) + " " + bytes + "/" + bytes + " bytes at offset " +
         std::to_string(offset) + "\n";
}

std::string range(std::uint64_t offset, std::uint64_t length) {
  return std::to_string(offset) + " " + std::to_string(length);
}

GuestResult<void> expect(const GuestResult<std::string>& text, const std::string& success) {
  if (!text) return std::unexpected(text.error());
  if (text->contains(success)) return {};
  return std::unexpected(GuestFailure{trimmed(*text)});
}

// `where` names a device ("-d QDEV") or a node.
GuestResult<std::string> run_qemu_io(Hypervisor& hypervisor, const std::string& where,
                                     const std::string& verb) {
  auto reply = hypervisor.execute("human-monitor-command",
                                  {{"command-line", "qemu-io " + where + " \"" + verb + "\""}});
  if (!reply) return std::unexpected(reply.error());
  const auto text = reply->find("return");
  if (text != reply->end() && text->is_string()) {
    // The monitor's own lines end in CR LF.
    std::string plain;
    for (const char c : text->get_ref<const std::string&>())
      if (c != '\r') plain += c;
    // What QEMU has printed before of images that drive-mirror made (measured, 5.2 to 11.1).
    while (plain.starts_with("Formatting '") && plain.contains('\n'))
      plain.erase(0, plain.find('\n') + 1);
    return plain;
  }
  const Json error = reply->value("error", Json::object());
  return std::unexpected(GuestFailure{error.value("desc", "an answer without a text")});
}

}  // namespace

GuestResult<std::string> Guest::run(const std::string& verb) {
  return run_qemu_io(hypervisor_, "-d " + qdev_, verb);
}

GuestResult<void> NodeIo::read(std::uint64_t offset, std::uint64_t length) {
  return expect(run_qemu_io(hypervisor_, node_, "read " + range(offset, length)),
                report("read", offset, length));
}

GuestResult<std::uint64_t> NodeIo::allocated(std::uint64_t length) {
  const auto text = run_qemu_io(hypervisor_, node_, "alloc " + range(0, length));
  if (!text) return std::unexpected(text.error());
  // "196608/1703936 bytes allocated at offset 0 bytes"
  const std::string rest = "/" + std::to_string(length) + " bytes allocated at offset 0 bytes";
  const std::string plain = trimmed(*text);
  std::uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), bytes);
  if (error != std::errc() || std::string_view(end, plain.data() + plain.size()) != rest)
    return std::unexpected(GuestFailure{plain});
  return bytes;
}

GuestResult<void> Guest::write(std::uint64_t offset, std::uint64_t length, std::uint8_t pattern) {
  return expect(run("write -P " + std::to_string(pattern) + " " + range(offset, length)),
                report("wrote", offset, length));
}

GuestResult<void> Guest::write_zeroes(std::uint64_t offset, std::uint64_t length) {
  return expect(run("write -z " + range(offset, length)), report("wrote", offset, length));
}

GuestResult<void> Guest::discard(std::uint64_t offset, std::uint64_t length) {
  return expect(run("discard " + range(offset, length)), report("discard", offset, length));
}

// A flush that succeeds prints nothing.  Nor does one that fails (measured, 5.2 to 11.1): that
// cannot be told apart here.
GuestResult<void> Guest::flush() {
  const auto text = run("flush");
  if (!text) return std::unexpected(text.error());
  if (trimmed(*text).empty()) return {};
  return std::unexpected(GuestFailure{trimmed(*text)});
}

GuestResult<bool> Guest::reads_as(std::uint64_t offset, std::uint64_t length,
                                  std::uint8_t pattern) {
  const auto text = run("read -P " + std::to_string(pattern) + " " + range(offset, length));
  if (auto read = expect(text, report("read", offset, length)); !read)
    return std::unexpected(read.error());
  return !text->contains("Pattern verification failed at offset ");
}

}  // namespace conformance
