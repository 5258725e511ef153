// Result<T>: a value, or the Error that explains its absence.
//
// Operating errors (a bad command, a failed read, a corrupt image) travel as Results.  Our own bugs
// are CHECKs and end the process: see check.h.  Nothing here throws.

#pragma once

#include <cerrno>
#include <concepts>
#include <expected>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sim {

// The QMP error classes (QAPI: QapiErrorClass).  The text of an error is part of what is compared
// with real QEMU, so it is written with care and never invented at a call site.
enum class ErrorClass : unsigned char {
  generic,
  command_not_found,
  device_not_active,
  device_not_found,
  kvm_missing_cap,
};

// The class as QMP spells it: "GenericError", …
std::string_view name_of(ErrorClass error_class);

struct Error {
  ErrorClass error_class = ErrorClass::generic;
  std::string desc;
  int number = EIO;  // the errno that a guest or a job would see; job policies look at ENOSPC
  friend bool operator==(const Error&, const Error&) = default;
};

// An Error whose text is the system's for `number` ("No such file or directory"), with `context`
// and ": " in front when it is not empty.  The texts are glibc's, fixed here so that they do not
// depend on a locale.
Error os_error(int number, std::string_view context = {});

struct Unit {
  friend bool operator==(Unit, Unit) = default;
};

// A thin, [[nodiscard]] class over std::expected (which can be dropped silently).
template <class T = Unit>
class [[nodiscard]] Result {
 public:
  using Value = T;

  template <class U = T>
    requires std::constructible_from<T, U&&> && (!std::same_as<std::remove_cvref_t<U>, Result>) &&
             (!std::same_as<std::remove_cvref_t<U>, Error>)
  Result(U&& value) : state_(std::in_place, std::forward<U>(value)) {}
  Result(Error error) : state_(std::unexpect, std::move(error)) {}

  bool ok() const { return state_.has_value(); }
  explicit operator bool() const { return ok(); }

  T& operator*() & { return *state_; }
  const T& operator*() const& { return *state_; }
  T&& operator*() && { return *std::move(state_); }
  T* operator->() { return &*state_; }
  const T* operator->() const { return &*state_; }

  const Error& error() const& { return state_.error(); }
  Error&& error() && { return std::move(state_).error(); }

  friend bool operator==(const Result&, const Result&) = default;

 private:
  std::expected<T, Error> state_;
};

inline Result<> ok() { return Unit{}; }

}  // namespace sim

#define SIM_CAT_(a, b) a##b
#define SIM_CAT(a, b) SIM_CAT_(a, b)

#define SIM_TRY_(name, declaration, expression, leave) \
  auto name = (expression);                            \
  if (!name) leave std::move(name).error();            \
  declaration = *std::move(name)
#define SIM_TRY_OK_(expression, leave)                                                    \
  do {                                                                                    \
    if (auto try_status = (expression); !try_status) leave std::move(try_status).error(); \
  } while (false)

// TRY(auto header, read_header(file));   binds the value, or returns the Error.
#define TRY(declaration, ...) SIM_TRY_(SIM_CAT(try_, __LINE__), declaration, (__VA_ARGS__), return)
// TRY_OK(flush(file));                   the same, where there is no value to bind.
#define TRY_OK(...) SIM_TRY_OK_((__VA_ARGS__), return)
// The same inside a coroutine: CO_TRY(auto bytes, co_await node.read(…));
#define CO_TRY(declaration, ...) \
  SIM_TRY_(SIM_CAT(try_, __LINE__), declaration, (__VA_ARGS__), co_return)
#define CO_TRY_OK(...) SIM_TRY_OK_((__VA_ARGS__), co_return)
