#include "real-qemu/message_stream.h"

namespace real_qemu {

std::optional<std::string> MessageStream::take() {
  if (scanned_ == 0) pending_.erase(0, pending_.find_first_not_of(" \t\r\n"));
  for (; !broken_ && scanned_ < pending_.size(); ++scanned_) {
    const char c = pending_[scanned_];
    if (in_string_) {
      if (after_escape_)
        after_escape_ = false;
      else if (c == '\\')
        after_escape_ = true;
      else if (c == '"')
        in_string_ = false;
      continue;
    }
    if (depth_ == 0 && c != '{') {
      broken_ = true;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      if (++depth_ > kMaxDepth) broken_ = true;
    } else if ((c == '}' || c == ']') && --depth_ == 0) {
      std::string message = pending_.substr(0, scanned_ + 1);
      pending_.erase(0, scanned_ + 1);
      scanned_ = 0;
      return message;
    }
  }
  if (pending_.size() > kMaxMessage) broken_ = true;
  return std::nullopt;
}

}  // namespace real_qemu
