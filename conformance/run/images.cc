#include "conformance/run/images.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "conformance/run/sim_target.h"
#include "sim/block/graph.h"
#include "sim/crypto/luks_keys.h"
#include "sim/driver/open.h"
#include "sim/qcow2/create.h"
#include "sim/storage/file.h"
#include "sim/world/rng.h"

namespace conformance {

using sim::Json;
using sim::Result;
using sim::Task;

namespace {

std::string path_of(const std::string& directory, const Image& image) {
  return directory + "/" + image.file;
}

const Image* find_image(const Scenario& scenario, const std::string& name) {
  const auto found = std::ranges::find(scenario.images, name, &Image::name);
  return found == scenario.images.end() ? nullptr : &*found;
}

const char* format_name(const Image& image) {
  return image.format == Image::Format::raw ? "raw" : "qcow2";
}

// Every image has keys of its own, and the same ones each time.
std::uint64_t seed_of(const Image& image) {
  std::uint64_t seed = 0;
  for (const char c : image.name) seed = seed * 0x100000001b3U + static_cast<unsigned char>(c);
  return seed;
}

Task<Result<>> create_image(const Scenario& scenario, const Image& image,
                            sim::storage::FileSystem& files, const std::string& directory) {
  CO_TRY(const auto file, files.create(path_of(directory, image)));
  if (image.format == Image::Format::raw) co_return co_await file->truncate(image.size);
  sim::qcow2::CreateOptions options;
  options.size = image.size;
  options.cluster_bits = static_cast<std::uint32_t>(std::countr_zero(image.cluster_size));
  if (const Image* backing = find_image(scenario, image.backing)) {
    // Targets whose files are compared have directories of their own.
    options.backing_file = scenario.is_transcript()     ? backing->file
                           : image.backing_name.empty() ? path_of(directory, *backing)
                                                        : image.backing_name;
    options.backing_format = format_name(*backing);
  }
  sim::Rng chance(seed_of(image));
  if (!image.passphrase.empty()) {
    options.encrypt.format = sim::qcow2::EncryptOptions::Format::luks;
    options.encrypt.passphrase = image.passphrase;
    options.encrypt.iterations = sim::crypto::luks::kIterationsMin;  // nobody has to be kept out
    options.encrypt.random = [&chance](sim::MutableBytes bytes) {
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(chance.next());
    };
  }
  co_return co_await sim::qcow2::create(*file, std::move(options));
}

Task<Result<>> apply(sim::block::Node& node, const std::vector<Write>& writes) {
  for (const Write& write : writes) {
    if (write.kind == Write::Kind::zero) {
      CO_TRY_OK(co_await node.write_zeroes(write.offset, write.length, {}));
    } else if (write.kind == Write::Kind::discard) {
      CO_TRY_OK(co_await node.discard(write.offset, write.length));
    } else {
      const std::vector<std::byte> bytes(write.length, std::byte{write.pattern});
      CO_TRY_OK(co_await node.write(write.offset, bytes));
    }
  }
  co_return sim::ok();
}

// What opens an image with all that is beneath it; puts the secrets for that into the graph.
Json options_of(const Scenario& scenario, const Image& image, sim::block::Graph& graph,
                const std::string& directory) {
  Json options = {
      {"driver", format_name(image)},
      {"discard", "unmap"},
      {"file",
       {{"driver", "file"}, {"filename", path_of(directory, image)}, {"discard", "unmap"}}}};
  if (image.format == Image::Format::raw) return options;
  const Image* const backing = find_image(scenario, image.backing);
  options["backing"] =
      backing == nullptr ? Json() : options_of(scenario, *backing, graph, directory);
  if (!image.passphrase.empty()) {
    options["encrypt"] = {{"format", "luks"}, {"key-secret", image.name}};
    graph.secrets[image.name] = image.passphrase;
  }
  return options;
}

Task<Result<>> fill_image(const Scenario& scenario, const Image& image, sim::block::Graph& graph,
                          const std::string& directory) {
  Json options = options_of(scenario, image, graph, directory);
  options["node-name"] = "image";
  CO_TRY(sim::block::NodePtr node,
         co_await sim::driver::open_node(graph, std::move(options), true));
  Result<> done = co_await apply(*node, image.writes);
  Result<> closed = co_await node->close();
  node.reset();
  graph.forget_all();
  if (!done) co_return done;
  co_return closed;
}

Task<Result<>> make_all(const Scenario& scenario, sim::block::Graph& graph,
                        sim::storage::FileSystem& files, const std::string& directory) {
  for (const Image& image : scenario.images) {
    CO_TRY_OK(co_await create_image(scenario, image, files, directory));
    if (!image.writes.empty()) CO_TRY_OK(co_await fill_image(scenario, image, graph, directory));
  }
  co_return sim::ok();
}

}  // namespace

Passphrases passphrases_of(const Scenario& scenario, const std::string& directory) {
  Passphrases passphrases;
  for (const Image& image : scenario.images)
    if (!image.passphrase.empty()) passphrases[path_of(directory, image)] = image.passphrase;
  return passphrases;
}

Result<> make_images(const Scenario& scenario, sim::storage::FileSystem& files,
                     const std::string& directory) {
  sim::World world(0);
  sim::block::Graph graph(world, files, *sim::find_profile("7.2"));
  return sim::run(world, make_all(scenario, graph, files, directory));
}

// The scenarios of a matrix share few sets of images: those made last are kept.
static Result<> put_images(const Scenario& scenario, sim::storage::MemoryFiles& files,
                           const std::string& directory) {
  struct Made {
    std::string directory;
    std::vector<Image> images;
    bool is_transcript;
    std::map<std::string, std::shared_ptr<sim::storage::MemoryFile>> files;  // by path
  };
  constexpr std::size_t kKept = 2;
  thread_local std::deque<Made> kept;  // the newest first
  auto made = std::ranges::find_if(kept, [&](const Made& it) {
    return it.directory == directory && it.is_transcript == scenario.is_transcript() &&
           it.images == scenario.images;
  });
  if (made == kept.end()) {
    sim::storage::MemoryFiles place;
    place.restrict_to(directory);
    TRY_OK(make_images(scenario, place, directory));
    kept.push_front({directory, scenario.images, scenario.is_transcript(), {}});
    made = kept.begin();
    for (const std::string& path : place.list(directory)) made->files[path] = place.find(path);
    if (kept.size() > kKept) kept.pop_back();
  }
  for (const auto& [path, file] : made->files) files.put(path, file->copy());
  return sim::ok();
}

Result<> make_images(const Scenario& scenario, Session& session) {
  const std::string directory = session.files().directory();
  if (auto* simulated = dynamic_cast<SimSession*>(&session))
    return put_images(scenario, simulated->storage(), directory);
  sim::storage::RealFiles files(sim::storage::Flush::unsafe, false);
  return make_images(scenario, files, directory);
}

}  // namespace conformance
