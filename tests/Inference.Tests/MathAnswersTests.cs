namespace SorsaOrt.Inference.Tests;

public sealed class MathAnswersTests
{
    [Theory]
    [InlineData(@"so \boxed{1} and then $\boxed{\frac{3}{4}}$.", @"\frac{3}{4}")]
    [InlineData(@"\boxed{f(x)={a_{1}}}", @"f(x)={a_{1}}")]
    [InlineData(@"$\boxed 5$ apples", "5")]
    [InlineData(@"\fbox{7}", "7")]
    [InlineData("Thus 2.\nThe answer is: 42.\nMore", "42")]
    [InlineData(@"The answer is: $\frac12$", @"\frac{1}{2}")]
    [InlineData(@"\boxed{1", null)]
    [InlineData(@"\boxed", null)]
    [InlineData(@"\boxed{}", null)]
    [InlineData("42", null)]
    public void Result_IsTheLastBoxOrWhatIsSaid(string text, string? expected) => Assert.Equal(expected, MathAnswers.Result(text));

    [Theory]
    [InlineData(@"\dfrac{1}{2}", @"\frac{1}{2}")]
    [InlineData("1/2", @"\frac{1}{2}")]
    [InlineData("-3/4", @"\frac{-3}{4}")]
    [InlineData("0.5", @"\frac{1}{2}")]
    [InlineData(".25", "0.25")]
    [InlineData(@"\frac1{72}", @"\frac{1}{72}")]
    [InlineData(@"\frac{a}2", @"\frac{a}2")]
    [InlineData(@"\sqrt3 + \sqrt{5}", @"\sqrt{3}+\sqrt{5}")]
    [InlineData(@"\left( 1, 2 \right)", "(1,2)")]
    [InlineData(@"90^\circ", "90")]
    [InlineData(@"10\text{ cm}", "10")]
    [InlineData(@"\$1,\!000", "1,000")]
    [InlineData(@"25\%", "25")]
    [InlineData("x = 5", "5")]
    [InlineData("kx = 5", "kx=5")]
    [InlineData("x + y = 5", "x+y=5")]
    [InlineData(@"\frac", @"\frac")]
    [InlineData(@"\sqrt", @"\sqrt")]
    [InlineData("", "")]
    public void Normalise_GivesOneSpelling(string latex, string expected) => Assert.Equal(expected, MathAnswers.Normalise(latex));

    [Fact]
    public void Form_ComparesReferencesAndAnswersAlike() =>
        Assert.Equal(ResultForm.Math.Expected(@"We get $\boxed{\dfrac{7}{2}}$."), ResultForm.Math.Predicted("The answer is: 7/2"));
}
