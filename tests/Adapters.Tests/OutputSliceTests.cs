using FsCheck.Xunit;

namespace SorsaOrt.Adapters.Tests;

public sealed class OutputSliceTests
{
    /// <summary>Taking a slice gives its rows or columns, and putting it back changes nothing else.</summary>
    [Property]
    public void TakeAndPut_TouchTheSliceAlone(bool transposed, byte a, byte b, byte c, byte d)
    {
        var (input, before, output, after) = (a % 5 + 1, b % 4, c % 5 + 1, d % 4);
        var (stored, start) = (before + output + after, before);
        var packed = Enumerable.Range(0, input * stored).ToArray();
        int At(int o, int i) => transposed ? i * stored + o : o * input + i;
        var slice = new OutputSlice(transposed, input, stored, start, output);
        var taken = slice.Take<int>(packed);
        Assert.Equal(from x in Enumerable.Range(0, transposed ? input : output)
                     from y in Enumerable.Range(0, transposed ? output : input)
                     select transposed ? At(start + y, x) : At(start + x, y), taken);
        var target = new int[packed.Length];
        slice.Put<int>(Array.ConvertAll(taken, v => v + 1), target);
        for (var o = 0; o < stored; o++)
        {
            for (var i = 0; i < input; i++)
                Assert.Equal(o >= start && o < start + output ? At(o, i) + 1 : 0, target[At(o, i)]);
        }
    }
}
