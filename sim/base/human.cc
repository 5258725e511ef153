#include "sim/base/human.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace sim {

__extension__ using Wide = unsigned __int128;

// QEMU: the unit is chosen so that less than 1000 of it are printed, with "%0.3g": the nearest of
// three digits, a tie to the even one.
std::string human_size(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 7> kUnits = {"B",   "KiB", "MiB", "GiB",
                                                      "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  while (unit + 1 < kUnits.size() && Wide{bytes} * 1024 >= Wide{1000} << (10 * (unit + 1))) ++unit;
  const Wide divisor = Wide{1} << (10 * unit);
  std::uint64_t scale = 1;  // 10 to the number of decimals
  while (scale < 1000 && bytes != 0 && Wide{bytes} * scale < 100 * divisor) scale *= 10;
  const Wide scaled = Wide{bytes} * scale;
  std::uint64_t digits = static_cast<std::uint64_t>(scaled / divisor);
  const Wide twice = scaled % divisor * 2;
  if (twice > divisor || (twice == divisor && digits % 2 != 0)) ++digits;
  if (digits == 1000 && scale == 1) return fmt::format("1e+03 {}", kUnits[unit]);
  while (scale > 1 && digits % 10 == 0) {
    digits /= 10;
    scale /= 10;
  }
  if (scale == 1) return fmt::format("{} {}", digits, kUnits[unit]);
  return fmt::format("{}.{:0{}} {}", digits / scale, digits % scale,
                     scale == 10    ? 1
                     : scale == 100 ? 2
                                    : 3,
                     kUnits[unit]);
}

std::string date_text(std::uint32_t since_epoch, std::int64_t ahead) {
  // Days in eras of 400 years that begin on the 1st of March, so that a leap day is the last.  The
  // first one began so long before the epoch that no offset leads before it.
  constexpr std::int64_t kDaysBeforeEpoch = 719468, kDay = 86400;
  const auto seconds = static_cast<std::uint64_t>(since_epoch + ahead + kDaysBeforeEpoch * kDay);
  const std::uint64_t days = seconds / 86400;
  const std::uint64_t era = days / 146097, day_of_era = days % 146097;
  const std::uint64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const std::uint64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::uint64_t month_from_march = (5 * day_of_year + 2) / 153;
  const std::uint64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
  const std::uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  const std::uint64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  const std::uint64_t second = seconds % 86400;
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", year, month, day, second / 3600,
                     second / 60 % 60, second % 60);
}

}  // namespace sim
