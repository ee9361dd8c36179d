namespace SorsaOrt.GraphBuilder;

/// <summary>How a targeted Linear is made trainable.</summary>
public enum AdapterMethod
{
    /// <summary>A, S and B are the top-r singular triples and are trained; the rest is frozen (arXiv 2409.00055).</summary>
    Sorsa,
    /// <summary>A and B carry √S each and are trained (arXiv 2404.02948).</summary>
    Pissa,
    /// <summary>A random, B zero, the weight itself frozen (arXiv 2106.09685).</summary>
    Lora,
    /// <summary>The weight itself is trained.</summary>
    Full,
}
