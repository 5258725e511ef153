// commit and rebase beside qemu-img.

#include <gmock/gmock.h>

#include "sim/base/json.h"
#include "sim/base/text.h"
#include "sim/storage/faults.h"
#include "sim/storage/filtered_files.h"
#include "sim/tool/tool_run.h"

namespace sim::tool {
namespace {

class Changing : public testing::BesideQemu {
 protected:
  using Said = testing::Said;

  // Lets the n-th write of the command fail, for every n: the disk at `top` never changes.
  void expect_safe(const std::string& script, const std::string& command) {
    must(script +
         " && qemu-img convert -O raw top whole && mkdir before && cp base mid top before");
    for (std::uint64_t n = 1;; ++n) {
      must("cp before/* .");
      const auto plan = std::make_shared<storage::FaultPlan>();
      plan->add({.operation = storage::Operation::write, .nth = n, .number = ENOSPC});
      storage::FilteredFiles faulty(files_, [&](const std::string&, auto file) {
        return std::make_shared<storage::Faults>(std::move(file), plan);
      });
      const Said said = testing::run_image(faulty, directory_.path(), command);
      if (plan->met() == 0) break;
      EXPECT_EQ(said.code, 1) << n;
      EXPECT_EQ(must("qemu-img compare -f raw whole top"), "Images are identical.\n") << n;
    }
  }

  // Runs a shell script twice, in directories of their own; then the command by both.  All files
  // must be the same.
  void expect_same_files(const std::string& script, const std::string& command,
                         bool content_only = false) {
    SCOPED_TRACE(command);
    must("rm -rf theirs ours && mkdir theirs ours");
    must("cd theirs && " + script);
    must("cd ours && " + script);
    const std::string theirs = must("cd theirs && qemu-img " + command);
    const Said said = testing::run_image(files_, directory_ / "ours", command);
    EXPECT_EQ(said.code, 0) << said.err;
    EXPECT_EQ(said.out, theirs);
    EXPECT_EQ(must("ls -A theirs"), must("ls -A ours"));
    if (!content_only) {
      EXPECT_EQ(must("diff -r theirs ours && echo same"), "same\n");
      return;
    }
    EXPECT_EQ(must("for i in theirs/*; do qemu-img compare $i ours/${i#*/}; done | sort -u"),
              "Images are identical.\n");
    EXPECT_EQ(must("for i in ours/*; do qemu-img check -q $i 2>&1; done | grep -v support || true"),
              "");
  }
};

constexpr const char* kChain =
    "qemu-img create -q -f qcow2 base 4M && qemu-io base -c 'write -P 7 0 1M' >/dev/null && "
    "qemu-img create -q -f qcow2 -b base -F qcow2 mid 4M && "
    "qemu-img create -q -f qcow2 -b mid -F qcow2 top 4M && ";

TEST_F(Changing, CommitsAsQemuDoes) {
  for (const char* writes : {"'write -P 1 64k 4k'", "'write -P 1 3M 300k'", "'write -z 64k 128k'",
                             "'write -z -u 2M 64k' -c 'write -P 3 512k 200k'", "'discard 0 1M'",
                             "'write -P 0 0 100k'", "'read 0 1k'"})
    for (const char* options : {"", "-d ", "-q "})
      expect_same_files(std::string(kChain) + "qemu-io top >/dev/null -c " + writes,
                        std::string("commit ") + options + "top");
}

TEST_F(Changing, CommitsFartherDown) {
  const std::string script =
      std::string(kChain) +
      "qemu-io mid -c 'write -P 2 128k 64k' >/dev/null && qemu-io top -c 'write -P 3 256k 64k' "
      ">/dev/null";
  expect_same_files(script, "commit -b base top");
  expect_same_files(script, "commit -b ./mid top");
  EXPECT_EQ(testing::run_image(files_, directory_ / "ours", "commit -b x top").err,
            "understudy image: Did not find 'x' in the backing chain of 'top'\n");
  EXPECT_EQ(testing::run_image(files_, directory_ / "ours", "commit base").err,
            "understudy image: Image does not have a backing file\n");
}

TEST_F(Changing, CommitsBetweenSizesAndFormats) {
  const std::string writes =
      "qemu-io top -c 'write -z 64k 128k' -c 'write -z 204k 8k' -c 'write -P 1 300k 4k' -c 'write "
      "-z 2M 64k' -c 'write -z 3M 4k' -c 'write -P 4 3500k 4k' >/dev/null";
  for (const char* size : {"3600k", "5M", "6000k"}) {
    expect_same_files(std::string("truncate -s 4M base && qemu-io -f raw base -c 'write -P 7 0 1M' "
                                  ">/dev/null && qemu-img create -q -f qcow2 -o cluster_size=4k -b "
                                  "base -F raw top ") +
                          size + " && " + writes,
                      "commit top", true);
    expect_same_files(std::string("qemu-img create -q -f qcow2 base 4M && qemu-io base -c 'write "
                                  "-P 7 0 1M' >/dev/null && qemu-img create -q -f qcow2 -o "
                                  "cluster_size=4k -b base -F qcow2 top ") +
                          size + " && " + writes,
                      "commit top", true);
  }
}

TEST_F(Changing, EmptiesImagesOfEveryKind) {
  for (const char* options :
       {"", "-o compat=0.10", "-o cluster_size=512", "-o refcount_bits=1", "-o refcount_bits=64",
        "-o cluster_size=512,refcount_bits=64", "-o cluster_size=1M"})
    expect_same_files(std::string("qemu-img create -q -f qcow2 base 2M && qemu-img create -q -f "
                                  "qcow2 -b base -F qcow2 ") +
                          options + " top && qemu-io top -c 'write -P 1 64k 64k' >/dev/null",
                      "commit top");
  expect_same_files(
      "qemu-img create -q -f qcow2 base 2M && qemu-img create -q -f qcow2 -b base -F qcow2 top && "
      "qemu-io top -c 'write -P 1 64k 64k' >/dev/null && qemu-img bitmap --add top b",
      "commit top", true);
}

TEST_F(Changing, RebasesAsQemuDoes) {
  const std::string script =
      std::string(kChain) +
      "qemu-io mid -c 'write -P 2 100k 1M' -c 'write -z 2M 64k' >/dev/null && "
      "qemu-io top -c 'write -P 3 256k 64k' >/dev/null && "
      "qemu-img create -q -f qcow2 other 3M && qemu-io other -c 'write -P 7 0 300k' -c 'write -P 5 "
      "2M 5k' >/dev/null && truncate -s 2M other.raw && qemu-img create -q -f qcow2 long 6M && "
      "qemu-io long -c 'write -P 9 3M 3M' >/dev/null";
  for (const char* command :
       {"rebase -b base -F qcow2 top", "rebase -b other -F qcow2 top",
        "rebase -b other.raw -F raw top", "rebase -b '' top", "rebase -u -b nothing -F raw top",
        "rebase -u -b '' top", "rebase -b long -F qcow2 top", "rebase -b base -F qcow2 mid",
        "rebase -b base -F qcow2 other", "rebase -u -b x -F qcow2 base",
        "rebase -f qcow2 -b mid -F qcow2 top"})
    expect_same_files(script, command);
  for (const char* size : {"512", "4k", "2M"})
    expect_same_files(script + " && qemu-img create -q -f qcow2 -o cluster_size=" + size +
                          " -b mid -F qcow2 more 5000k && qemu-io more -c 'write -P 9 1M 3k' "
                          ">/dev/null",
                      "rebase -b other -F qcow2 more");
}

TEST_F(Changing, WhatFailsHalfWayLosesNothing) {
  const std::string script =
      std::string(kChain) +
      "qemu-io mid -c 'write -P 2 100k 300k' >/dev/null && qemu-io top -c 'write -P 3 256k 64k' -c "
      "'write -P 4 3M 1k' >/dev/null";
  expect_safe(script, "commit top");
}

TEST_F(Changing, ARebaseThatFailsHalfWayLosesNothing) {
  const std::string script = std::string(kChain) +
                             "qemu-io mid -c 'write -P 2 100k 300k' >/dev/null && "
                             "qemu-io top -c 'write -P 3 256k 64k' >/dev/null";
  expect_safe(script, "rebase -b base -F qcow2 top");
}

TEST_F(Changing, ARefusedRebaseChangesNothing) {
  must(std::string(kChain) + "cp top top0");
  for (const char* command :
       {"rebase top", "rebase -b nothing -F qcow2 top", "rebase -b base -F nope top",
        "rebase -b base", "rebase -b base top", "rebase -t x -b base -F qcow2 top"}) {
    EXPECT_EQ(
        qcow2::testing::run_command("cd " + directory_.path() + " && qemu-img " + command).status,
        1)
        << command;
    EXPECT_EQ(tool(command).code, 1) << command;
    must("cmp top top0");
  }
}

}  // namespace
}  // namespace sim::tool
