#include "sim/base/result.h"

#include <fmt/format.h>

namespace sim {

std::string_view name_of(ErrorClass error_class) {
  switch (error_class) {
    case ErrorClass::generic:
      return "GenericError";
    case ErrorClass::command_not_found:
      return "CommandNotFound";
    case ErrorClass::device_not_active:
      return "DeviceNotActive";
    case ErrorClass::device_not_found:
      return "DeviceNotFound";
    case ErrorClass::kvm_missing_cap:
      return "KVMMissingCap";
  }
  return "GenericError";
}

static std::string_view text_of(int number) {
  switch (number) {
    case EPERM:
      return "Operation not permitted";
    case ENOENT:
      return "No such file or directory";
    case EIO:
      return "Input/output error";
    case EBADF:
      return "Bad file descriptor";
    case EAGAIN:
      return "Resource temporarily unavailable";
    case EACCES:
      return "Permission denied";
    case EBUSY:
      return "Device or resource busy";
    case EEXIST:
      return "File exists";
    case ENOTDIR:
      return "Not a directory";
    case EISDIR:
      return "Is a directory";
    case EINVAL:
      return "Invalid argument";
    case EMFILE:
      return "Too many open files";
    case EFBIG:
      return "File too large";
    case ENOSPC:
      return "No space left on device";
    case ERANGE:
      return "Numerical result out of range";
    case EROFS:
      return "Read-only file system";
    case ENOTSUP:
      return "Operation not supported";
    case ENOMEM:
      return "Cannot allocate memory";
    case ELOOP:
      return "Too many levels of symbolic links";
    case ENAMETOOLONG:
      return "File name too long";
    case ECANCELED:
      return "Operation canceled";
    case ENOMEDIUM:
      return "No medium found";
    default:
      return {};
  }
}

Error os_error(int number, std::string_view context) {
  const std::string_view known = text_of(number);
  const std::string text =
      known.empty() ? fmt::format("Unknown error {}", number) : std::string(known);
  return {ErrorClass::generic, context.empty() ? text : fmt::format("{}: {}", context, text),
          number};
}

}  // namespace sim
