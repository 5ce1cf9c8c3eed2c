// A bundle's file appears whole or not at all, and what had its name stays
// until then.
#include "compiler/BundleFile.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sys/resource.h>

using namespace lapidary;
using testing::HasSubstr;

namespace {

class BundleFileTest : public testing::Test {
protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "bundle-file-XXXXXX";
    ASSERT_TRUE(mkdtemp(name.data()));
    folder = name;
    path = name + "/model.lap";
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  void put(const std::string &content) { std::ofstream(path) << content; }
  std::string content() const {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  size_t countFiles() const {
    auto files = std::filesystem::directory_iterator(folder);
    return std::distance(begin(files), end(files));
  }
  static std::span<const uint8_t> bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
  }

  std::filesystem::path folder;
  std::string path;
};

TEST_F(BundleFileTest, AppearsWhenItIsWhole) {
  {
    Result<BundleFile> file = BundleFile::create(path, 10);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_TRUE(file->write(5, bytes("world")).ok()); // In any order.
    EXPECT_TRUE(file->write(0, bytes("hello")).ok());
    EXPECT_TRUE(file->write(10, {}).ok());
    EXPECT_FALSE(std::filesystem::exists(path));
    Status status = file->commit();
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(content(), "helloworld");
  }
  EXPECT_EQ(content(), "helloworld") << "gone with its writer";
  EXPECT_EQ(countFiles(), 1u);
}

TEST_F(BundleFileTest, ReservesItsSize) {
  Result<BundleFile> file = BundleFile::create(path, 100000);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->write(0, bytes("x")).ok());
  EXPECT_TRUE(file->commit().ok());
  EXPECT_EQ(content(), "x" + std::string(99999, '\0'));
}

TEST_F(BundleFileTest, LeavesNothingWithoutCommit) {
  put("old");
  {
    Result<BundleFile> file = BundleFile::create(path, 100);
    ASSERT_TRUE(file.ok());
    EXPECT_TRUE(file->write(0, bytes("new")).ok());
    EXPECT_EQ(content(), "old");
    EXPECT_EQ(countFiles(), 2u);
  }
  EXPECT_EQ(content(), "old");
  EXPECT_EQ(countFiles(), 1u);
}

TEST_F(BundleFileTest, ReplacesWhatHadItsName) {
  put("a longer old content");
  Result<BundleFile> file = BundleFile::create(path, 3);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->write(0, bytes("new")).ok());
  EXPECT_TRUE(file->commit().ok());
  EXPECT_EQ(content(), "new");
  EXPECT_EQ(countFiles(), 1u);
}

TEST_F(BundleFileTest, SurvivesAMove) {
  Result<BundleFile> file = BundleFile::create(path, 3);
  ASSERT_TRUE(file.ok());
  {
    BundleFile moved = *std::move(file);
    EXPECT_TRUE(moved.write(0, bytes("new")).ok());
    EXPECT_TRUE(moved.commit().ok());
  }
  EXPECT_EQ(content(), "new");
}

TEST_F(BundleFileTest, RefusesWhatIsNoFile) {
  std::filesystem::create_directory(path);
  for (const Status &status :
       {BundleFile::check(path), BundleFile::create(path, 10).status()}) {
    EXPECT_EQ(status.getCode(), StatusCode::InvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(path + ": it exists"));
  }
  EXPECT_EQ(BundleFile::create("/dev/null", 10).status().getCode(),
            StatusCode::InvalidArgument);
  EXPECT_EQ(countFiles(), 1u);
}

TEST_F(BundleFileTest, NamesTheFolderThatIsMissing) {
  std::string missing = (folder / "none" / "model.lap").string();
  for (const Status &status :
       {BundleFile::check(missing), BundleFile::create(missing, 10).status()}) {
    EXPECT_EQ(status.getCode(), StatusCode::IoError);
    EXPECT_THAT(status.message(), HasSubstr(missing + ": No such file"));
  }
}

TEST_F(BundleFileTest, CheckingCreatesNothing) {
  EXPECT_TRUE(BundleFile::check(path).ok());
  EXPECT_EQ(countFiles(), 0u);
  put("old");
  EXPECT_TRUE(BundleFile::check(path).ok());
  EXPECT_EQ(content(), "old");
}

TEST_F(BundleFileTest, RefusesWhatNoDiskHolds) {
  put("old");
  Status status = BundleFile::create(path, uint64_t(1) << 62).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("reserve 4611686018427387904 bytes"));
  EXPECT_THAT(status.message(), HasSubstr(path));
  EXPECT_EQ(content(), "old");
  EXPECT_EQ(countFiles(), 1u);
}

TEST_F(BundleFileTest, KeepsTheOldFileWhenWritingFails) {
  put("old");
  {
    Result<BundleFile> file = BundleFile::create(path, 100);
    ASSERT_TRUE(file.ok());
    rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    rlimit small = {4096, before.rlim_max};
    auto handler = signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    // The first bytes still fit: a write that is cut short goes on, and fails.
    Status status = file->write(4090, bytes("0123456789"));
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    EXPECT_EQ(status.getCode(), StatusCode::IoError);
    EXPECT_THAT(status.message(), HasSubstr("cannot write " + path));
  }
  EXPECT_EQ(content(), "old");
  EXPECT_EQ(countFiles(), 1u);
}

TEST_F(BundleFileTest, LeavesNothingWhenItCannotTakeItsPlace) {
  {
    Result<BundleFile> file = BundleFile::create(path, 10);
    ASSERT_TRUE(file.ok());
    std::filesystem::create_directories(path + "/occupied");
    Status status = file->commit();
    EXPECT_EQ(status.getCode(), StatusCode::IoError);
    EXPECT_THAT(status.message(), HasSubstr("to " + path));
  }
  EXPECT_EQ(countFiles(), 1u);
}

} // namespace
