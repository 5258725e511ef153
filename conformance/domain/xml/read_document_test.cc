#include "conformance/domain/xml/read_document.h"

#include <gtest/gtest.h>

#include "conformance/domain/xml/domain_xml.h"
#include "conformance/domain/xml/xml_for_test.h"

namespace conformance::xml {
namespace {

DomainError error_for(const std::string& text) {
  const auto read = parse_domain(text);
  EXPECT_FALSE(read.has_value());
  return read ? DomainError{} : error_of(read.error());
}

struct Case {
  std::string text;
  std::string message;  // behind "(domain_definition):1: "
};

// Measured: `virsh -c test:///default define` of libvirt 9.0.0, without the lines that quote the
// document, and "Double hyphen" without the comment it goes on with.
TEST(ReadDocument, SaysWhatLibvirtSaysOfWhatIsNotXml) {
  const std::vector<Case> cases = {
      {"", "Document is empty"},
      {"foo", "Start tag expected, '<' not found"},
      {"   ", "Start tag expected, '<' not found"},
      {"<domain><a></domain>", "Opening and ending tag mismatch: a line 1 and domain"},
      {"<domain>", "Premature end of data in tag domain line 1"},
      {"<domain a='1' a='2'/>", "Attribute a redefined"},
      {"<domain>&foo;</domain>", "Entity 'foo' not defined"},
      {"<domain>&</domain>", "xmlParseEntityRef: no name"},
      {"<domain/><domain/>", "Extra content at the end of the document"},
      {"<domain>\xff</domain>", "Input is not proper UTF-8, indicate encoding !"},
      {"<domain>\x01</domain>", "PCDATA invalid Char value 1"},
      {"<domain a=1/>", "AttValue: \" or ' expected"},
      {"<domain a='<'/>", "Unescaped '<' not allowed in attributes values"},
      {"<domain><!-- a -- b --></domain>", "Double hyphen within comment"},
      {"<!FOO><domain/>", "StartTag: invalid element name"},
      {" <?xml version='1.0'?><domain/>",
       "XML declaration allowed only at the start of the document"},
      {"<?xml version='2.0'?><domain/>", "Unsupported version '2.0'"},
      {"<?xml version='1.0' encoding='FOO'?><domain/>", "Unsupported encoding FOO"},
  };
  for (const Case& each : cases)
    EXPECT_EQ(error_for(each.text),
              (DomainError{"DOMAIN", "XML_DETAIL", "(domain_definition):1: " + each.message}))
        << each.text;
}

TEST(ReadDocument, WantsItsRoot) {
  const auto other = [](const std::string& name) {
    return DomainError{"XML", "XML_ERROR",
                       "expecting root element of 'domain', not '" + name + "'"};
  };
  EXPECT_EQ(error_for("<foo/>"), other("foo"));
  EXPECT_EQ(error_for("\xef\xbb\xbf<foo/>"), other("foo"));
  EXPECT_EQ(error_for("<qemu:x/>"), other("qemu:x"));
}

TEST(ReadDocument, RefusesDocumentTypes) {
  const DomainError refused{"UNDERSTUDY", "DOCTYPE", "a document type declaration is not accepted"};
  EXPECT_EQ(error_for("<!DOCTYPE domain><domain/>"), refused);
  EXPECT_EQ(error_for("<!DOCTYPE domain SYSTEM 'http://127.0.0.1:9/x.dtd'><domain/>"), refused);
  EXPECT_EQ(error_for("<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
                      "<domain>&x;</domain>"),
            refused);
}

TEST(ReadDocument, KnowsThreeEncodings) {
  const auto name_in = [](const std::string& text) {
    const auto domain = parse_domain(text);
    return domain ? domain->rest.child("name")->text() : error_of(domain.error()).message;
  };
  EXPECT_EQ(name_in("<domain><name>\xc3\xa9</name></domain>"), "\xc3\xa9");
  EXPECT_EQ(name_in("<?xml version='1.0' encoding='utf-8'?><domain><name>\xc3\xa9</name></domain>"),
            "\xc3\xa9");
  EXPECT_EQ(name_in("<?xml version='1.0' encoding='ISO-8859-1'?>"
                    "<domain><name>\xe9</name></domain>"),
            "\xc3\xa9");
  EXPECT_EQ(name_in("<?xml version='1.0' encoding='UTF-16'?><domain/>"),
            "(domain_definition):1: Unsupported encoding UTF-16");
  // UTF-16 itself, and what libxml2 would guess to be EBCDIC.
  EXPECT_EQ(name_in(std::string("<\0d\0/\0>\0", 8)),
            "(domain_definition):1: Input is not proper UTF-8, indicate encoding !");
  EXPECT_EQ(error_for("\x4c\x6f\xa7\x94").code, "XML_DETAIL");
}

TEST(ReadDocument, KeepsWhatWasWritten) {
  const auto root = document(
      "<domain xmlns:q='urn:q'><a q:b='&lt;&amp;&quot;&#10;&#x41;'> text <q:c/> more </a>\n  "
      "<![CDATA[<raw>]]><u:v/><!--c--></domain>");
  const Element* a = root.child("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->attributes.at(0), (Attribute{"q:b", "<&\"\nA"}));
  EXPECT_EQ(a->text(), " text  more ");
  EXPECT_EQ(a->children.at(1).name, "q:c");
  EXPECT_NE(root.child("u:v"), nullptr);  // not declared: no error in libvirt either
  EXPECT_EQ(document(format_element(root)), root);
}

TEST(ReadDocument, NeverQuotesMoreThanNames) {
  for (const char* text :
       {"<domain><secret>hunter2</domain>", "<domain x='hunter2' x='hunter2'/>",
        "<domain><!-- hunter2 -- --></domain>", "<domain><![CDATA[hunter2", "<domain><!-- hunter2",
        "<domain><?pi hunter2", "<domain a='hunter2", "<domain>hunter2 \xff</domain>", "hunter2",
        "<domain>hunter2]]></domain>"})
    EXPECT_EQ(error_for(text).message.find("hunter2"), std::string::npos)
        << error_for(text).message;
  EXPECT_LT(error_for("<domain><" + std::string(40000, 'x') + "></domain>").message.size(), 300U);
}

}  // namespace
}  // namespace conformance::xml
