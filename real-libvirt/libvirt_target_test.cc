#include "real-libvirt/libvirt_target.h"

#include <gtest/gtest.h>

namespace real_libvirt {
namespace {
TEST(Placeholder, IsThere) {}
}  // namespace
}  // namespace real_libvirt
