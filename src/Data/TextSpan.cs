namespace SorsaOrt.Data;

/// <summary>A stretch of a text, in UTF-16 units.</summary>
/// <param name="Start">Where it begins.</param>
/// <param name="Length">Its length.</param>
public readonly record struct TextSpan(int Start, int Length);
