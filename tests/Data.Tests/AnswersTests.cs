using System.Globalization;

namespace SorsaOrt.Data.Tests;

public class AnswersTests
{
    [Theory]
    [InlineData("Tom has 3 + 4 = 7 pens now.\nThe answer is: 7", "7")]
    [InlineData("The answer is: 7.", "7")]
    [InlineData("The answer is:7", "7")]
    [InlineData("The answer is: $1,234.50 per year", "1234.5")]
    [InlineData("The answer is: 1,234,567 people", "1234567")]
    [InlineData("The answer is: -42", "-42")]
    [InlineData("The answer is: \u221242 degrees", "-42")]
    [InlineData("The answer is: -$5", "-5")]
    [InlineData("The answer is: +5", "5")]
    [InlineData("The answer is: 18.00", "18")]
    [InlineData("The answer is: .5", "0.5")]
    [InlineData("The answer is: 50%", "50")]
    [InlineData("The answer is: 3/4", "0.75")]
    [InlineData("The answer is: x = 12 apples", "12")]
    [InlineData("The answer is: 1, 2 and 3", "1")]
    [InlineData("The answer is: 3\nNo. The answer is: 5", "5")]
    [InlineData("He pays 3.\n#### 18", "18")]
    [InlineData("The answer is: 10-4", "10")]
    [InlineData("The answer is: 1 1/2", "1.5")]
    [InlineData("The answer is: -2 3/4 metres", "-2.75")]
    [InlineData("The answer is: 7 / 2", "3.5")]
    [InlineData("The answer is: 12 1/2 and 3", "12.5")]
    [InlineData(@"The answer is: $\frac{3}{4}$", "0.75")]
    [InlineData(@"The answer is: \dfrac{3}{4}", "0.75")]
    [InlineData(@"The answer is: \tfrac34", "0.75")]
    [InlineData(@"The answer is: -\frac{5}{2}", "-2.5")]
    [InlineData(@"The answer is: \frac{-5}{2}", "-2.5")]
    [InlineData(@"The answer is: $1\frac{1}{2}$ hours", "1.5")]
    [InlineData(@"The answer is: 1 \frac 1 2", "1.5")]
    [InlineData(@"The answer is: \$1{,}250.75", "1250.75")]
    [InlineData("The answer is: 1,2345", "1")]
    [InlineData("The answer is: 12,34", "12")]
    [InlineData("The answer is: €3.20", "3.2")]
    [InlineData("The answer is: (5)", "5")]
    [InlineData("The answer is: **5** km/h", "5")]
    [InlineData("The answer is: 5km/2h", "5")]
    [InlineData("The answer is: 1e3", "1")]
    [InlineData("The answer is: 0.1.2", "0.1")]
    [InlineData("The answer is: -0", "0")]
    [InlineData("The answer is: 007", "7")]
    [InlineData("The answer is: \u0663", null)]
    [InlineData("The answer is: 1 1/0", null)]
    [InlineData(@"The answer is: \frac{1}{0}", null)]
    [InlineData("The answer is: 79228162514264337593543950335 1/3", null)]
    [InlineData("the answer is: 7", null)]
    [InlineData("The answer is: seven", null)]
    [InlineData("The answer is: 1/0", null)]
    [InlineData("The answer is: 99999999999999999999999999999999999999", null)]
    [InlineData("7", null)]
    [InlineData("", null)]
    public void Predicted_IsTheNumberAfterTheLastMarker(string completion, string? number) => Assert.Equal(Number(number), Answers.Predicted(completion));

    [Theory]
    [InlineData("It takes 2/2=<<2/2=1>>1 bolt\n#### 3", "3")]
    [InlineData("#### 1,080", "1080")]
    [InlineData("#### -3", "-3")]
    [InlineData("#### $18", "18")]
    [InlineData("Tom has 3.\nThe answer is: 3", "3")]
    [InlineData("no number", null)]
    public void Expected_ReadsGsm8kAndMetaMath(string reference, string? number) => Assert.Equal(Number(number), Answers.Expected(reference));

    [Fact]
    public void Agree_WantsAnAnswer()
    {
        Assert.True(Answers.Agree(18.00m, 18m));
        Assert.False(Answers.Agree(4.6m, 5m));
        Assert.False(Answers.Agree(null, null));
    }

    private static decimal? Number(string? text) => text is null ? null : decimal.Parse(text, CultureInfo.InvariantCulture);
}
