#include "real-qemu/installed.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "real-qemu/directory.h"

namespace real_qemu {
namespace {

class InstalledTest : public ::testing::Test {
 protected:
  PrivateDirectory directory_ = std::move(*PrivateDirectory::make(scratch_place()));
  Places places_{.root = directory_.path(), .path = directory_.path() + "/system"};

  std::string program(const std::string& place) {
    const auto folder = std::filesystem::path(directory_.path()) / place;
    std::filesystem::create_directories(folder);
    const auto file = folder / "qemu-system-x86_64";
    std::ofstream(file) << "#!/bin/sh\n";
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    return file;
  }
};

TEST_F(InstalledTest, FindsTheSystemsAndTheInstalledOnesByVersion) {
  const auto system = program("system");
  const auto old = program("build/qemu/5.2/bin");
  const auto ten = program("build/qemu/10.0/bin");
  const auto seven = program("build/qemu/7.2/bin");
  std::filesystem::create_directories(directory_.path() + "/build/qemu/11.1/bin");
  program("build/qemu/downloads/bin");
  std::vector<std::string> specs;
  for (const auto& found : installed(places_)) specs.push_back(found.spec);
  EXPECT_EQ(specs, (std::vector<std::string>{"qemu", "qemu:5.2", "qemu:7.2", "qemu:10.0"}));
  EXPECT_EQ(locate("qemu", places_)->program, system);
  EXPECT_EQ(locate("qemu:5.2", places_)->program, old);
  EXPECT_EQ(locate("qemu:" + seven, places_)->program, seven);
  EXPECT_EQ(locate("qemu:10.0", places_)->program, ten);
}

TEST_F(InstalledTest, AVersionFindsItsPointReleases) {
  program("build/qemu/10.0.2/bin");
  const auto newer = program("build/qemu/10.0.13/bin");
  EXPECT_EQ(locate("qemu:10.0", places_)->program, newer);
  EXPECT_FALSE(locate("qemu:1", places_));
}

TEST_F(InstalledTest, TheSystemsIsFoundByItsVersion) {
  const auto system = program("sys'tem");
  places_.path = std::filesystem::path(system).parent_path();
  std::ofstream(system) << "#!/bin/sh\necho 'QEMU emulator version 7.2.22 (Debian 1:7.2)'\n";
  EXPECT_EQ(locate("qemu:7.2", places_)->program, system);
  EXPECT_EQ(locate("qemu:7.2.22", places_)->program, system);
  EXPECT_FALSE(locate("qemu:7.20", places_));
  EXPECT_FALSE(locate("qemu:7.2.2", places_));
  const auto installed = program("build/qemu/7.2/bin");
  EXPECT_EQ(locate("qemu:7.2", places_)->program, installed);
}

TEST_F(InstalledTest, WhatIsMissingNamesItsCure) {
  EXPECT_EQ(locate("qemu", places_).error(),
            "there is no qemu-system-x86_64 in the path; install it: "
            "apt-get install qemu-system-x86 (or ./dev setup)");
  EXPECT_EQ(locate("qemu:5.2", places_).error(), "QEMU 5.2 is not installed in " +
                                                     directory_.path() +
                                                     "/build/qemu; install it: ./dev qemu 5.2");
  EXPECT_EQ(locate("qemu:/nowhere/qemu", places_).error(),
            "/nowhere/qemu is no program that can be run; name a qemu-system-x86_64");
  EXPECT_TRUE(locate("vbox", places_).error().starts_with("'vbox' names no real QEMU"));
  EXPECT_FALSE(locate("qemu:", places_));
}

TEST(ReleaseOf, TheNewestProfileThatIsNotNewer) {
  EXPECT_EQ(release_of("5.2.0 (Debian 1:5.2+dfsg-11+deb11u3)"), "5.2");
  EXPECT_EQ(release_of("7.2.22"), "7.2");
  EXPECT_EQ(release_of("8.2.1"), "7.2");
  EXPECT_EQ(release_of("10.0.13"), "10.0");
  EXPECT_EQ(release_of("11.1.3"), "11.1");
  EXPECT_EQ(release_of("12.0.0"), "11.1");
  EXPECT_EQ(release_of("4.2.1"), "5.2");
}

}  // namespace
}  // namespace real_qemu
