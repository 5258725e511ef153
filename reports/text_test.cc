#include "reports/text.h"

#include <gtest/gtest.h>

namespace reports {
namespace {

TEST(Text, PrintableShowsControlCharacters) {
  EXPECT_EQ(printable("plain\ttext\n"), "plain\ttext\n");
  EXPECT_EQ(printable("a\x1b[31mb\r\x7f"), "a\\x1b[31mb\\x0d\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"), "\\x9b");  // CSI as one character
  EXPECT_EQ(printable("ä€😀"), "ä€😀");
}

TEST(Text, WhatIsNoUtf8IsReplaced) {
  EXPECT_EQ(printable("a\xff"), "a\uFFFD");
  EXPECT_EQ(printable("\xc0\xaf"), "\uFFFD\uFFFD");                      // longer than needed
  EXPECT_EQ(printable("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(printable("\xe2\x82"), "\uFFFD\uFFFD");                      // cut off
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
}

TEST(Text, XmlTextHasXmlCharactersOnly) {
  EXPECT_EQ(xml_text("<a> & \"b\"\t\n\r"), "<a> & \"b\"\t\n\r");
  EXPECT_EQ(xml_text(std::string_view("a\0b\x1b", 4)), "a\uFFFDb\uFFFD");
  EXPECT_EQ(xml_text("\xef\xbf\xbe\xef\xbf\xbf"), "\uFFFD\uFFFD");  // U+FFFE, U+FFFF
  EXPECT_EQ(xml_text("ä\xff"), "ä\uFFFD");
}

TEST(Text, OneLine) {
  EXPECT_EQ(one_line("  a \n\t b\r\n"), "a b");
  EXPECT_EQ(one_line(" \n"), "");
}

}  // namespace
}  // namespace reports
