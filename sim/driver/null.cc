// Drivers `null-co` and `null-aio`: no bytes at all.
//
// Source: QAPI's BlockdevOptionsNull; texts and names measured on 5.2 to 11.1.

#include <cstring>

#include "sim/base/size.h"
#include "sim/driver/open.h"
#include "sim/world/sync.h"

namespace sim::driver {

namespace {

class NullNode final : public block::Node {
 public:
  NullNode(block::Graph& graph, std::string name, const Json& options)
      : Node(graph, std::move(name), options["driver"].get<std::string>()),
        size_(options.value("size", std::uint64_t{1_GiB})),
        latency_(options.value("latency-ns", std::uint64_t{0})),
        zeroes_(options.value("read-zeroes", false)) {
    for (const char* option : {"size", "read-zeroes"})
      if (options.contains(option)) shown_[option] = options[option];
  }

  std::uint64_t size() const override { return align_up(size_, 512); }
  std::string exact_filename() const override {
    return shown_.empty() ? driver() + "://" : std::string();
  }
  bool has_image_info() const override { return false; }
  Json open_options() const override {
    Json result = shown_;
    result["driver"] = driver();
    return result;
  }
  std::optional<std::string_view> reopen_options() const override { return ""; }
  // Whatever is asked: nothing is allocated, unless it is known to be zeroes.
  Task<Result<block::Status>> status(std::uint64_t, std::uint64_t length) override {
    co_return block::Status{length, zeroes_, zeroes_};
  }
  void describe_image(Json& image) const override { image["actual-size"] = 0; }

 protected:
  // Without read-zeroes QEMU leaves the buffer as it is, whatever that is.
  Task<Result<>> do_read(std::uint64_t, MutableBytes into) override {
    if (!into.empty()) std::memset(into.data(), 0, into.size());
    return pass_time();
  }
  Task<Result<>> do_write(std::uint64_t, Bytes) override { return pass_time(); }
  Task<Result<>> do_write_zeroes(std::uint64_t, std::uint64_t, block::ZeroFlags flags) override {
    if (flags.no_fallback) co_return os_error(ENOTSUP);
    co_return co_await pass_time();
  }
  Task<Result<>> do_discard(std::uint64_t, std::uint64_t) override { co_return ok(); }
  Task<Result<>> do_flush() override { return pass_time(); }

 private:
  Task<Result<>> pass_time() {
    if (latency_ == 0) co_return ok();
    WaitQueue over(world().scheduler);
    world().scheduler.after(Duration{latency_}, [&over] { over.wake_all(); });
    co_await over.wait();
    co_return ok();
  }

  std::uint64_t size_;     // bytes
  std::uint64_t latency_;  // ns
  bool zeroes_;
  Json shown_ = Json::object();
};

}  // namespace

Task<Result<block::NodePtr>> open_null(block::Graph& graph, Common common, Json options) {
  CO_TRY_OK(settle(graph, common));
  // Every release aborts here ("Unexpected error in parse_option_size()", measured).
  if (options.contains("size") && options["size"].get<std::int64_t>() < 0)
    co_return Error{ErrorClass::generic,
                    "understudy: a negative size, which aborts QEMU, is not in this version"};
  if (options.contains("latency-ns") && options["latency-ns"].get<std::uint64_t>() > INT64_MAX)
    co_return Error{ErrorClass::generic, "latency-ns is invalid"};
  auto node = std::make_shared<NullNode>(graph, std::move(common.name), options);
  node->read_only = common.read_only;
  node->inactive = common.inactive;
  co_return node;
}

}  // namespace sim::driver
