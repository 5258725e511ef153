// Driver `qcow2`: an image in its file child, with an optional backing child.

#include "sim/qcow2/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

#include "sim/base/text.h"
#include "sim/block/chain.h"
#include "sim/block/debugger.h"
#include "sim/driver/name.h"
#include "sim/driver/node_storage.h"
#include "sim/driver/open.h"
#include "sim/driver/qcow2_bitmaps.h"
#include "sim/driver/qcow2_options.h"
#include "sim/qcow2/amend.h"
#include "sim/qcow2/describe.h"
#include "sim/qcow2/encryption.h"

namespace sim::driver {

namespace {

// What an image sees of the node below it.
class NodeBacking final : public qcow2::Backing {
 public:
  explicit NodeBacking(block::Node& node) : node_(node) {}
  Task<Result<>> read(std::uint64_t offset, MutableBytes into) override {
    return read_padded(node_, offset, into);
  }
  std::uint64_t size() const override { return node_.size(); }
  Task<Result<bool>> reads_as_zero(std::uint64_t offset, std::uint64_t length) override {
    while (length > 0 && offset < node_.size()) {
      CO_TRY(const block::Status status,
             co_await status_of_chain(node_, offset, std::min(length, node_.size() - offset)));
      if (!status.zero) co_return false;
      offset += status.length;
      length -= std::min(length, status.length);
    }
    co_return true;
  }

 private:
  block::Node& node_;
};

// Passes on what an image tells to the node below it, if that wants to know.
class NodeObserver final : public qcow2::Observer {
 public:
  explicit NodeObserver(const block::Node& image) : image_(image) {}
  // Null if nobody does.
  qcow2::Observer* wanted() { return image_.file()->debugger() != nullptr ? this : nullptr; }
  Task<void> at(std::string_view moment) override {
    if (block::Debugger* debugger = image_.file()->debugger()) co_await debugger->raise(moment);
  }

 private:
  const block::Node& image_;
};

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

// Where relative names of an image in `file` start: beside the file at the very bottom.
std::string directory_beneath(const block::Node& file) {
  const block::Node* at = &file;
  while (const block::Node* next = at->is_filter() ? at->filtered() : at->file()) at = next;
  return directory_of(at->filename());
}

qcow2::Preallocation preallocation_of(block::Preallocation wanted) {
  switch (wanted) {
    case block::Preallocation::off:
      return qcow2::Preallocation::off;
    case block::Preallocation::metadata:
      return qcow2::Preallocation::metadata;
    case block::Preallocation::falloc:
      return qcow2::Preallocation::falloc;
    case block::Preallocation::full:
      return qcow2::Preallocation::full;
  }
  return qcow2::Preallocation::off;
}

class Qcow2Node final : public block::Node {
 public:
  Qcow2Node(block::Graph& graph, std::string name) : Node(graph, std::move(name), "qcow2") {}
  // Opens the image that lies in `file`, with the data in the child "data-file" if there is one.
  Task<Result<>> open_image(Json options, bool writable);
  Task<Result<>> amend(Json encrypt, bool force);

  bool is_format() const override { return true; }
  bool is_encrypted() const override { return luks_.has_value(); }
  bool supports_compression() const override { return true; }
  bool supports_backing() const override { return true; }
  Task<Result<>> close() override { return close_image(); }
  std::uint64_t size() const override { return image_->size(); }
  std::uint64_t cluster_size() const override { return image_->cluster_size(); }
  std::string header_backing_file() const override { return image_->header().backing_file; }
  std::string header_backing_format() const override { return image_->header().backing_format; }
  Task<Result<>> change_backing_name(std::string file, std::string format) override {
    auto_backing_ = file;
    return image_->change_backing_name(std::move(file), std::move(format));
  }
  // The backing file is the one that the header leads to by itself: QEMU compares names.
  void set_auto_backing(std::string name) { auto_backing_ = std::move(name); }
  bool is_backing_overridden() const override {
    return auto_backing_ != (backing() == nullptr ? std::string() : backing()->filename());
  }
  Task<Result<>> make_empty() override {
    CO_TRY_OK(check_unwatched("emptying"));
    co_return co_await image_->make_empty();
  }

  // --- internal snapshots ---

  bool supports_snapshots() const override { return true; }
  std::vector<block::InternalSnapshot> snapshots() const override;
  Task<Result<>> create_snapshot(block::InternalSnapshot wanted) override;
  Task<Result<>> apply_snapshot(std::string id_or_name) override;
  Task<Result<>> delete_snapshot(std::string id) override;
  Task<Result<>> read_vm_state(std::uint64_t at, MutableBytes into) override {
    return image_->read_vm_state(at, into);
  }
  Task<Result<>> write_vm_state(std::uint64_t at, Bytes from) override {
    return image_->write_vm_state(at, from);
  }

  // --- persistent bitmaps ---

  Task<Result<>> load_bitmaps();
  Result<> can_store_bitmap(const std::string& bitmap, std::uint64_t granularity) const override;
  Task<Result<>> forget_stored_bitmap(std::string bitmap) override;
  Task<Result<>> inactivate() override;
  Task<Result<>> activate() override;

  std::string exact_filename() const override {
    return !is_backing_overridden() && is_protocol(*file()) ? file()->exact_filename()
                                                            : std::string();
  }
  Json open_options() const override {
    Json result = Node::open_options();
    if (!is_backing_overridden())
      result.erase("backing");
    else if (backing() == nullptr)
      result["backing"] = nullptr;
    return result;
  }

  std::optional<std::string_view> reopen_options() const override { return kQcow2ReopenOptions; }
  Result<> check_reopen(const Json& wanted, bool writable) const override {
    TRY_OK(check_qcow2_options(wanted, image_->header(), graph().profile()));
    // Bitmaps are stored before an image becomes read-only, even if it is already.
    const bool stores = std::ranges::any_of(bitmaps, [](const auto& bitmap) {
      return bitmap->persistent && !bitmap->read_only && !bitmap->inconsistent;
    });
    if (!writable && !image_->writable() && stores)
      return Error{ErrorClass::generic, "No write access"};
    return ok();
  }
  // The same image, opened anew.  Nothing else uses it meanwhile: the node is drained.
  Task<Result<>> prepare_reopen(Json options, bool writable) override {
    before_ = {std::move(opened_with_), image_->writable()};
    CO_TRY_OK(co_await close_image());
    Result<> opened = co_await open_image(std::move(options), writable);
    if (!opened) (void)co_await open_image(before_.first, before_.second);
    for (const auto& bitmap : bitmaps)
      if (bitmap->persistent) bitmap->read_only = !writable;
    backing_changed();
    co_return opened;
  }

  void commit_reopen() override { image_->observe(observer_.wanted()); }

  void backing_changed() override {
    backing_adapter_ = backing() != nullptr ? std::make_unique<NodeBacking>(*backing()) : nullptr;
    image_->set_backing(backing_adapter_.get());
  }

  Task<Result<block::Status>> status(std::uint64_t offset, std::uint64_t length) override {
    using Kind = qcow2::Extent::Kind;
    CO_TRY(const qcow2::Extent extent, co_await image_->status(qcow2::GuestOffset{offset}, length));
    const bool without_backing = backing() == nullptr;
    co_return block::Status{
        std::min(length, extent.length), extent.kind != Kind::absent,
        extent.kind == Kind::zero || (extent.kind == Kind::absent && without_backing)};
  }

  void describe_image(Json& image) const override {
    const qcow2::Header& header = image_->header();
    image["cluster-size"] = image_->cluster_size();
    image["dirty-flag"] = header.is_dirty();
    Json data = qcow2::describe(*image_);
    if (luks_) data["encrypt"] = qcow2::describe_encryption(luks_);
    if (luks_) image["encrypted"] = true;
    image["format-specific"] = {{"type", "qcow2"}, {"data", std::move(data)}};
    if (header.backing_file.empty()) return;
    image["backing-filename"] = header.backing_file;
    image["full-backing-filename"] =
        header.backing_file.front() == '/' || header.backing_file.contains(':')
            ? header.backing_file
            : directory_beneath(*file()) + header.backing_file;
    if (!header.backing_format.empty()) image["backing-filename-format"] = header.backing_format;
  }

 protected:
  Task<Result<>> do_read(std::uint64_t offset, MutableBytes into) override {
    return image_->read(qcow2::GuestOffset{offset}, into);
  }
  Task<Result<>> do_write(std::uint64_t offset, Bytes from) override {
    return image_->write(qcow2::GuestOffset{offset}, from);
  }
  Task<Result<>> do_write_compressed(std::uint64_t offset, Bytes from) override {
    return image_->write_compressed(qcow2::GuestOffset{offset}, from);
  }
  Task<Result<>> do_write_zeroes(std::uint64_t offset, std::uint64_t length,
                                 block::ZeroFlags flags) override {
    image_->pass_discard_request = options.value("pass-discard-request", discard_unmap);
    return image_->write_zeroes(qcow2::GuestOffset{offset}, length, flags.unmap);
  }
  Task<Result<>> do_discard(std::uint64_t offset, std::uint64_t length) override {
    image_->pass_discard_request = options.value("pass-discard-request", discard_unmap);
    return image_->discard(qcow2::GuestOffset{offset}, length);
  }
  // What a longer backing file has beyond the old end must not show.
  Task<Result<>> do_truncate(block::Truncate wanted) override {
    // Only a release that has not looked before gets here with it (5.2).
    if (wanted.size > qcow2::format::kVirtualSizeMax && wanted.size % 512 == 0)
      co_return Error{ErrorClass::generic, "Failed to grow the L1 table: File too large", EFBIG};
    if (wanted.size % 512 != 0)
      co_return Error{ErrorClass::generic, "The new size must be a multiple of 512", EINVAL};
    const std::uint64_t before = size();
    if (wanted.size < before) CO_TRY_OK(check_unwatched("shrinking"));
    CO_TRY_OK(co_await image_->resize(wanted.size, preallocation_of(wanted.preallocation)));
    const bool shows = backing() != nullptr && backing()->size() > before;
    if (wanted.size > before && (wanted.zero || shows))
      co_return co_await image_->write_zeroes(qcow2::GuestOffset{before}, wanted.size - before,
                                              false);
    co_return ok();
  }
  Task<Result<>> do_flush_to_os() override { return image_->write_back(); }
  Task<Result<>> do_flush() override { return image_->flush(); }

 private:
  // With its bitmaps; what cannot be stored of them is lost, as QEMU says on its standard error.
  Task<Result<>> close_image();
  Task<Result<>> open_again(bool writable);
  Result<> check_unwatched(std::string_view what) const;

  std::string auto_backing_;
  std::unique_ptr<NodeBacking> backing_adapter_;
  NodeObserver observer_{*this};
  std::unique_ptr<qcow2::Image> image_;
  // Deleted while the image could not be written to: QEMU has forgotten them (5.2 to 11.1).
  std::set<std::string, std::less<>> lost_snapshots_;
  std::optional<crypto::LuksHeader> luks_;
  Json opened_with_;
  std::pair<Json, bool> before_;  // options, and whether it was writable
};

Task<Result<>> Qcow2Node::open_image(Json options, bool writable) {
  const auto bytes = storage_through(*this, "file");
  CO_TRY(const qcow2::Header header, co_await qcow2::read_header(*bytes, writable));
  CO_TRY_OK(check_qcow2_options(options, header, graph().profile()));
  CO_TRY(luks_, co_await qcow2::read_luks(*bytes, header));
  qcow2::OpenOptions how{.writable = writable, .lax = true};
  how.observer = observer_.wanted();
  CO_TRY(how.cipher, co_await unlock_qcow2(graph(), options, *bytes, header));
  if (child("data-file") != nullptr) how.data_file = storage_through(*this, "data-file");
  if (options.contains("lazy-refcounts"))
    how.lazy_refcounts = options["lazy-refcounts"].get<bool>();
  CO_TRY(image_, co_await qcow2::Image::open(world(), bytes, std::move(how)));
  image_->discard_keeps_place = options.value("discard-no-unref", false);
  opened_with_ = std::move(options);
  co_return ok();
}

// QAPI: QCryptoBlockAmendOptionsLUKS, with the secrets themselves.
Result<qcow2::AmendOptions::Key> read_key(const block::Graph& graph, const Json& given,
                                          bool force) {
  qcow2::AmendOptions::Key key{.activate = given["state"] == "active", .force = force};
  for (const auto& [name, into] :
       {std::pair{"new-secret", &key.new_secret}, std::pair{"old-secret", &key.old_secret}})
    if (given.contains(name)) {
      TRY(*into, find_secret(graph, given[name].get<std::string>()));
    }
  if (given.contains("keyslot")) key.keyslot = given["keyslot"].get<int>();
  return key;
}

Task<Result<>> Qcow2Node::amend(Json encrypt, bool force) {
  if (!luks_) co_return Error{ErrorClass::generic, "image is not encrypted, can't amend"};
  CO_TRY(qcow2::AmendOptions::Key key, read_key(graph(), encrypt, force));
  const std::string unlocks =
      encrypt.value("secret", opened_with_["encrypt"]["key-secret"].get<std::string>());
  std::string passphrase;
  if (key.activate) {
    CO_TRY(passphrase, find_secret(graph(), unlocks));
  }
  const auto bytes = storage_through(*this, "file");
  CO_TRY_OK(co_await qcow2::amend_key(*bytes, image_->header(), std::move(key),
                                      std::move(passphrase), [this](MutableBytes into) {
                                        for (std::byte& byte : into)
                                          byte = static_cast<std::byte>(world().rng.below(256));
                                      }));
  CO_TRY(luks_, co_await qcow2::read_luks(*bytes, image_->header()));
  co_return ok();
}

// --- internal snapshots

std::vector<block::InternalSnapshot> Qcow2Node::snapshots() const {
  std::vector<block::InternalSnapshot> all;
  for (const qcow2::Snapshot& it : image_->snapshots()) {
    if (lost_snapshots_.contains(it.id)) continue;
    all.push_back({.id = it.id,
                   .name = it.name,
                   .vm_state_size = it.vm_state_bytes,
                   .date_sec = it.date_seconds,
                   .date_nsec = it.date_nanoseconds,
                   .vm_clock_ns = it.vm_clock_ns,
                   .icount = it.icount == UINT64_MAX ? std::nullopt : std::optional(it.icount)});
  }
  return all;
}

// The moments of operations on whole trees are not QEMU's.
Result<> Qcow2Node::check_unwatched(std::string_view what) const {
  block::Debugger* const debugger = file()->debugger();
  if (debugger == nullptr || !debugger->expects_events()) return ok();
  return Error{ErrorClass::generic,
               fmt::format("understudy: {} of an image whose events driver 'blkdebug' waits for "
                           "is not in this version",
                           what)};
}

Task<Result<>> Qcow2Node::create_snapshot(block::InternalSnapshot wanted) {
  CO_TRY_OK(check_unwatched("an internal snapshot"));
  co_return co_await image_->create_snapshot({.name = std::move(wanted.name),
                                              .date_seconds = wanted.date_sec,
                                              .date_nanoseconds = wanted.date_nsec,
                                              .vm_clock_ns = wanted.vm_clock_ns,
                                              .vm_state_bytes = wanted.vm_state_size,
                                              .icount = wanted.icount.value_or(UINT64_MAX)});
}

Task<Result<>> Qcow2Node::apply_snapshot(std::string id_or_name) {
  CO_TRY_OK(check_unwatched("an internal snapshot"));
  if (!bitmaps.empty())
    co_return Error{ErrorClass::generic, "Device has active dirty bitmaps", EBUSY};
  co_return co_await image_->apply_snapshot(std::move(id_or_name));
}

Task<Result<>> Qcow2Node::delete_snapshot(std::string id) {
  CO_TRY_OK(check_unwatched("an internal snapshot"));
  if (image_->writable()) co_return co_await image_->delete_snapshot(std::move(id));
  lost_snapshots_.insert(std::move(id));
  co_return os_error(EPERM, "Failed to remove snapshot from snapshot list");
}

// --- persistent bitmaps

Task<Result<>> Qcow2Node::load_bitmaps() {
  CO_TRY(const Bitmaps loaded, co_await driver::load_bitmaps(*image_));
  bitmaps.insert(bitmaps.end(), loaded.begin(), loaded.end());
  co_return ok();
}

Result<> Qcow2Node::can_store_bitmap(const std::string& bitmap, std::uint64_t granularity) const {
  TRY_OK(check_unwatched("a stored bitmap"));
  auto can =
      image_->can_store_bitmap(bitmap, static_cast<std::uint8_t>(std::countr_zero(granularity)));
  if (can) return ok();
  return Error{ErrorClass::generic, fmt::format("Can't make bitmap '{}' persistent in '{}': {}",
                                                bitmap, device_or_node_name(), can.error().desc)};
}

Task<Result<>> Qcow2Node::forget_stored_bitmap(std::string bitmap) {
  const auto& stored = image_->bitmaps();
  if (std::ranges::find(stored, bitmap, &qcow2::BitmapInfo::name) == stored.end()) co_return ok();
  co_return co_await image_->remove_bitmap(std::move(bitmap));
}

Task<Result<>> Qcow2Node::close_image() {
  if (image_->writable() && observer_.wanted() != nullptr) (void)co_await flush();
  if (image_->writable()) (void)co_await give_bitmaps(*image_, bitmaps);
  co_return co_await image_->close();
}

Task<Result<>> Qcow2Node::open_again(bool writable) {
  CO_TRY_OK(co_await open_image(opened_with_, writable));
  backing_changed();
  co_return ok();
}

// Another program may use the image from now on: the bitmaps are there, not here.
Task<Result<>> Qcow2Node::inactivate() {
  CO_TRY_OK(co_await close_image());
  std::erase_if(bitmaps, [](const auto& bitmap) { return bitmap->persistent; });
  co_return co_await open_again(false);
}

Task<Result<>> Qcow2Node::activate() {
  CO_TRY_OK(co_await image_->close());
  CO_TRY_OK(co_await open_again(!read_only));
  co_return co_await load_bitmaps();
}

Error about_backing(Error error) {
  error.desc = fmt::format("Could not open backing file: {}", error.desc);
  return error;
}

// The data's own file, if the image or the options say that there is one.
Task<Result<>> open_data_file(block::Graph& graph, Qcow2Node& node, Common common, Json options) {
  CO_TRY(const qcow2::Header header,
         co_await qcow2::read_header(*storage_through(node, "file"), !node.read_only));
  CO_TRY_OK(check_qcow2_options(options, header, graph.profile()));
  Json reference = options.value("data-file", Json());
  if (reference.is_null() && header.has_data_file() && !header.data_file.empty()) {
    CO_TRY(reference, options_of_protocol(header.data_file, graph.profile()));
  }
  if (reference.is_null()) co_return ok();  // without it Image::open() refuses what needs it
  CO_TRY(const block::NodePtr data,
         co_await open_child(graph, std::move(reference), common.for_children));
  co_return graph.attach(node, data, "data-file", block::kData);
}

Task<Result<>> open_image(block::Graph& graph, Qcow2Node& node, Common common, Json options) {
  const bool force_share = common.for_children.force_share;
  CO_TRY_OK(co_await open_data_file(graph, node, std::move(common), options));
  CO_TRY_OK(co_await node.open_image(options, !node.read_only));
  node.set_auto_backing(node.header_backing_file());
  CO_TRY_OK(co_await node.load_bitmaps());
  block::NodePtr backing;
  const auto given = options.find("backing");
  if (given == options.end()) {
    auto opened = co_await open_backing_of(graph, node, force_share);
    if (!opened) co_return about_backing(std::move(opened).error());
    backing = *std::move(opened);
    if (backing) node.set_auto_backing(backing->filename());
  } else if (!given->is_null() && *given != "") {
    auto opened = co_await open_child(
        graph, *given, {.read_only = true, .unmap = true, .force_share = force_share});
    if (!opened) co_return about_backing(std::move(opened).error());
    backing = *std::move(opened);
  }
  if (!backing) {
    node.backing_changed();
    co_return ok();
  }
  co_return graph.set_backing(node, backing);
}

}  // namespace

// Relative names start at the image's own directory.
Task<Result<block::NodePtr>> open_backing_of(block::Graph& graph, const block::Node& node,
                                             bool force_share) {
  std::string name = node.header_backing_file();
  if (name.empty()) co_return block::NodePtr();
  if (name.front() != '/' && !has_protocol(name)) name = directory_beneath(*node.file()) + name;
  Json given = Json::object();
  const std::string format = node.header_backing_format();
  if (!format.empty()) given["driver"] = format;
  co_return co_await open_named(graph, std::move(name), std::move(given), {{"read-only", true}},
                                {.read_only = true, .unmap = true, .force_share = force_share});
}

Task<Result<block::NodePtr>> open_qcow2(block::Graph& graph, Common common, Json options) {
  CO_TRY(const block::NodePtr file,
         co_await open_child(graph, options["file"], common.for_children));
  CO_TRY_OK(settle(graph, common));
  auto node = std::make_shared<Qcow2Node>(graph, std::move(common.name));
  node->read_only = common.read_only;
  node->inactive = common.inactive;
  CO_TRY_OK(graph.attach(*node, file, "file", block::kImage));
  graph.add(node);  // its own backing file may be asked to be itself
  if (Result<> opened = co_await open_image(graph, *node, common, std::move(options)); !opened) {
    graph.forget(node);
    graph.detach(*node, "data-file");
    graph.detach(*node, "file");
    co_return std::move(opened).error();
  }
  co_return node;
}

Task<Result<>> amend_qcow2(block::NodePtr node, Json options, bool force) {
  if (!options.contains("encrypt")) co_return ok();
  co_return co_await dynamic_cast<Qcow2Node&>(*node).amend(options["encrypt"], force);
}

}  // namespace sim::driver
