namespace SorsaOrt.Autodiff.Rules;

/// <summary>Operators that end every path: their outputs are truth values, places, shapes, or constant almost everywhere.</summary>
/// <remarks>
/// Integer and bool values never carry a gradient, whatever made them: Cast to an integer, Range, the indices of Gather and the
/// shape of Reshape need no mark. OneHot and Range of floats do depend on them smoothly, and are not marked.
/// </remarks>
internal static class NoGradientRules
{
    public static void AddTo(GradientTable table) => table
        .AddWithoutGradient("Constant", "ConstantOfShape", "Shape", "Size", "EyeLike", "RandomNormalLike", "RandomUniformLike")
        .AddWithoutGradient("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf")
        .AddWithoutGradient("ArgMax", "ArgMin", "NonZero", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
        .AddWithoutGradient("Sign", "Floor", "Ceil", "Round");
}
