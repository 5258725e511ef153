#include "conformance/domain/xml/storage_source.h"

#include <algorithm>
#include <array>
#include <utility>

namespace conformance::xml {
namespace {

constexpr std::array<std::string_view, 7> kTypes{"file",   "block", "dir",      "network",
                                                 "volume", "nvme",  "vhostuser"};

}  // namespace

std::string_view name_of(StorageType type) { return kTypes[static_cast<std::size_t>(type)]; }

std::optional<StorageType> storage_type_of(std::string_view name) {
  const auto found = std::ranges::find(kTypes, name);
  if (found == kTypes.end()) return std::nullopt;
  return static_cast<StorageType>(found - kTypes.begin());
}

Backing::Backing() = default;

Backing Backing::terminated() {
  Backing backing;
  backing.knowledge_ = Knowledge::terminated;
  return backing;
}

Backing Backing::of(StorageSource source) {
  Backing backing;
  backing.knowledge_ = Knowledge::known;
  backing.source_ = std::make_unique<StorageSource>(std::move(source));
  return backing;
}

Backing::Backing(const Backing& other)
    : detected(other.detected),
      knowledge_(other.knowledge_),
      source_(other.source_ ? std::make_unique<StorageSource>(*other.source_) : nullptr) {}

Backing::Backing(Backing&& other) noexcept
    : detected(std::exchange(other.detected, false)),
      knowledge_(std::exchange(other.knowledge_, Knowledge::unknown)),
      source_(std::move(other.source_)) {}

Backing& Backing::operator=(Backing other) noexcept {
  detected = other.detected;
  knowledge_ = other.knowledge_;
  source_.swap(other.source_);
  return *this;
}

Backing::~Backing() = default;

bool operator==(const Backing& a, const Backing& b) {
  if (a.detected != b.detected || a.knowledge_ != b.knowledge_) return false;
  return !a.source_ || *a.source_ == *b.source_;
}

bool StorageSource::empty() const {
  switch (type) {
    case StorageType::file:
    case StorageType::block:
    case StorageType::dir:
      return path.empty();
    case StorageType::network:
      return protocol.empty() || protocol == "none";
    case StorageType::volume:
      return pool.empty();
    case StorageType::nvme:
    case StorageType::vhostuser:
      return other_attributes.empty();
  }
  return true;
}

}  // namespace conformance::xml
