// The chain that sequences of QMP requests begin with, written by the real qemu-img and qemu-io.

#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "real-qemu/differential/replay.h"
#include "real-qemu/directory.h"

namespace differential {

inline std::vector<std::byte> contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// base <- snap1 <- snap2, three empty copies, and others; empty if the programs are not there.
inline Images make_chain() {
  const auto scratch = *real_qemu::PrivateDirectory::make(real_qemu::scratch_place());
  const std::string make =
      "cd " + scratch.path() +
      " && qemu-img create -q -f qcow2 base.qcow2 1M"
      " && qemu-io -f qcow2 -c 'write -q -P 1 0 1M' base.qcow2"
      " && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 snap1.qcow2"
      " && qemu-io -f qcow2 -c 'write -q -P 2 256k 128k' snap1.qcow2"
      " && qemu-img create -q -f qcow2 -b snap1.qcow2 -F qcow2 snap2.qcow2"
      " && qemu-io -f qcow2 -c 'write -q -P 3 192k 64k' -c 'write -q -P 3 512k 128k' snap2.qcow2"
      " && for f in copy copy5 copy6; do qemu-img create -q -f qcow2 $f.qcow2 1M; done"
      " && qemu-img create -q -f qcow2 bigger.qcow2 2M"
      " && touch n.qcow2 empty.qcow2";
  Images images;
  if (std::system(make.c_str()) != 0) return images;
  for (const auto& entry : std::filesystem::directory_iterator(scratch.path()))
    images[entry.path().filename()] = contents(entry.path());
  return images;
}

}  // namespace differential
