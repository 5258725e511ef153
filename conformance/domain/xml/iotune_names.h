// The limits of <iotune>, in libvirt's order.

#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace conformance::xml {

inline constexpr std::array<std::string_view, 19> kIoTuneLimits{"total_bytes_sec",
                                                                "read_bytes_sec",
                                                                "write_bytes_sec",
                                                                "total_iops_sec",
                                                                "read_iops_sec",
                                                                "write_iops_sec",
                                                                "total_bytes_sec_max",
                                                                "read_bytes_sec_max",
                                                                "write_bytes_sec_max",
                                                                "total_iops_sec_max",
                                                                "read_iops_sec_max",
                                                                "write_iops_sec_max",
                                                                "size_iops_sec",
                                                                "total_bytes_sec_max_length",
                                                                "read_bytes_sec_max_length",
                                                                "write_bytes_sec_max_length",
                                                                "total_iops_sec_max_length",
                                                                "read_iops_sec_max_length",
                                                                "write_iops_sec_max_length"};
// <group_name> stands before this one.
inline constexpr std::size_t kIoTuneGroupBefore = 13;

}  // namespace conformance::xml
