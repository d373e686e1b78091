// EXPECT that a call throws one error type and that its sentence contains a phrase.
#pragma once

#include <gtest/gtest.h>

#include <string>

#define MFL_EXPECT_THROW_WITH(statement, Type, phrase)                                                    \
  try {                                                                                                   \
    statement;                                                                                            \
    ADD_FAILURE() << "nothing was thrown, expected " #Type " with \"" << phrase << '"';                   \
  } catch (const Type& e) {                                                                               \
    EXPECT_NE(std::string(e.what()).find(phrase), std::string::npos) << "the sentence was: " << e.what(); \
  }
