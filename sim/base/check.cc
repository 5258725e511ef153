#include "sim/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace sim {

static thread_local CheckContext* innermost = nullptr;

CheckContext::CheckContext(Describe describe, const void* subject)
    : describe_(describe), subject_(subject), outer_(innermost) {
  if (outer_ != nullptr) outer_->inner_ = this;
  innermost = this;
}

CheckContext::~CheckContext() {
  if (inner_ != nullptr) inner_->outer_ = outer_;
  if (outer_ != nullptr) outer_->inner_ = inner_;
  if (innermost == this) innermost = outer_;
}

void check_failed(const char* file, int line, std::string_view condition,
                  std::string_view message) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %.*s", file, line, static_cast<int>(condition.size()),
               condition.data());
  if (!message.empty())
    std::fprintf(stderr, " (%.*s)", static_cast<int>(message.size()), message.data());
  std::fputc('\n', stderr);
  for (const CheckContext* context = innermost; context != nullptr; context = context->outer_) {
    const std::string text = context->describe_(context->subject_);
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  std::abort();
}

}  // namespace sim
