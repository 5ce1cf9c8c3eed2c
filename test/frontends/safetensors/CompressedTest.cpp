// Matrices that a checkpoint has quantized, through their schemes: the values
// must be those that the format's description gives, bit for bit.
#include "dialects/lap/SchemeLibrary.h"
#include "dialects/scheme/Scheme.h"
#include "frontends/formats/EncodedTensor.h"

#include "test/frontends/formats/TestCompressed.h"

#include <gmock/gmock.h>

using namespace mlir;
using namespace mlir::lap;
using lapidary::test::CompressedCase;
using lapidary::test::CompressedForm;
using lapidary::test::CompressedMaker;

namespace {

class CompressedTest : public testing::TestWithParam<CompressedForm> {};

TEST_P(CompressedTest, DecodesToTheFormatsValues) {
  CompressedCase matrix = CompressedMaker(GetParam()).make();
  lapidary::test::TemporaryFolder folder;
  matrix.write(folder);
  auto checkpoint = lapidary::Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const lapidary::TensorInfo *tensor = checkpoint->find("a.proj.weight");
  ASSERT_NE(tensor, nullptr);

  MLIRContext context;
  auto name = lapidary::getEncodedScheme(*tensor);
  ASSERT_TRUE(name.ok()) << name.status().message();
  StringRef text = lapidary::getEncodedSchemeText(*tensor);
  auto module = text.empty() ? loadScheme(&context, *name)
                             : parseScheme(&context, text, *name);
  ASSERT_TRUE(succeeded(module));
  SchemeOp op = getScheme(**module);
  EXPECT_EQ(op.getSymName(), matrix.scheme);

  lapidary::Scheme scheme = op.getModel();
  std::vector<lapidary::EncodedRow> rows(
      matrix.rows, lapidary::EncodedRow(scheme, matrix.columns));
  lapidary::Status status =
      lapidary::readEncodedRows(*checkpoint, *tensor, scheme, 0, rows);
  ASSERT_TRUE(status.ok()) << status.message();
  std::vector<float> values(matrix.columns);
  for (int64_t row = 0; row < matrix.rows; ++row) {
    decodeRow(scheme, rows[row], values);
    for (int64_t column = 0; column < matrix.columns; ++column)
      ASSERT_EQ(
          std::bit_cast<uint32_t>(values[column]),
          std::bit_cast<uint32_t>(matrix.values[row * matrix.columns + column]))
          << row << ", " << column << ": " << values[column];
  }
}

INSTANTIATE_TEST_SUITE_P(All, CompressedTest,
                         testing::ValuesIn(lapidary::test::compressedForms()),
                         [](const auto &info) {
                           std::string name = info.param.name;
                           std::erase(name, ' ');
                           return name;
                         });

} // namespace
